"""Makes every part that a command needs, once, from its options. Nothing else makes parts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fnmodel import bubblewrap, interpreter
from fnmodel.aws import EMULATOR_REGION, Cloud, translated
from fnmodel.cli.caller import Caller, caller
from fnmodel.cli.console import Console, Output
from fnmodel.cli.trust import Keys, keys
from fnmodel.config import (
    Access,
    CaptureConfig,
    CorsConfig,
    FunctionConfig,
    Project,
    RolloutConfig,
    Stage,
    find,
    load,
)
from fnmodel.errors import FnmodelError, StackNotFoundError, UsageError, WrongAccountError
from fnmodel.hashes import Hashes
from fnmodel.home import folder
from fnmodel.local.control import Control
from fnmodel.model import OnnxModel
from fnmodel.pack import base
from fnmodel.pack.build import Recipe
from fnmodel.pack.credentials import Credentials, from_docker
from fnmodel.pack.dependencies import Lock
from fnmodel.pack.image import Architecture, Image, host_architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.lock import Change
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry
from fnmodel.pack.requirements import lock, tracing_lock
from fnmodel.provision.around import Around
from fnmodel.provision.bodies import Bodies
from fnmodel.provision.keys import ApiKeys
from fnmodel.provision.pins import Pins
from fnmodel.provision.repository import Repositories, ecr_region, repository_name
from fnmodel.provision.stack import Stack, Stacks
from fnmodel.provision.template import ALIAS, stack_name
from fnmodel.provision.watching import Watching
from fnmodel.release.alias import AliasRouter
from fnmodel.release.clock import NoClock, RuleClock
from fnmodel.release.copies import S3Copies
from fnmodel.release.ledger import Ledger
from fnmodel.release.meter import CloudWatchMeter
from fnmodel.release.probe import AllGates, ProbeGate
from fnmodel.release.provisioned import Provisioned, StartedRouter
from fnmodel.release.publish import Publisher
from fnmodel.release.release import Gate, Releases
from fnmodel.release.replay import PATIENCE, Replayer, ReplayingMeter
from fnmodel.release.replayable import CapturedRequests
from fnmodel.release.rollouts import Rollouts

_BOX, _LOCAL_BOX = 10.0, 3.0
"""Seconds for which one look replays; what it found is kept when it ends."""

_OF_OUTPUTS = ("ledger", "copies", "api_keys", "releases", "rollouts", "caller")
"""What is made of a stack's outputs, and made anew once these may have changed."""


def embedded_cloud() -> Control:
    """Return the control of this home's embedded cloud."""
    return Control(folder("local"))


class Workspace:
    """A project in one stage, and the clients to work on it; each is made when first asked for."""

    def __init__(
        self,
        project: Path,
        *,
        stage: str | None = None,
        local: bool = False,
        profile: str | None = None,
        region: str | None = None,
        output: Output = Output.table,
    ) -> None:
        self.console = Console(output)
        self.folder = project
        self.file = find(project)
        self.project: Project = load(self.file)
        self.stage: str
        self.settings: Stage
        self.stage, self.settings = self.project.stage_of(stage, local=local)
        self.name = stack_name(self.project.name, self.stage)
        self.function: FunctionConfig = self.settings.function or self.project.function
        self.access: Access = self.settings.callers
        self.cors: CorsConfig | None = self.settings.cors or self.project.cors
        self.rollout: RolloutConfig = self.settings.rollout or self.project.rollout
        self.capture: CaptureConfig = self.settings.capture or self.project.capture
        self._stack: Stack | None = None
        self._profile = profile or self.settings.profile
        self._region = region or self.settings.region

    @property
    def local(self) -> bool:
        """Whether the stage runs in the embedded cloud."""
        return self.settings.cloud == "local"

    @cached_property
    def cloud(self) -> Cloud:
        """The cloud of the stage; the embedded one is started when it does not run.

        Every client is made of it, so that no call reaches an account that is not the stage's.

        Raises:
            WrongAccountError: the credentials are of another account than the stage's.

        """
        if not self.local:
            return self._in_account(
                Cloud(region=self._region, profile=self._profile, role=self.settings.role)
            )
        control = embedded_cloud()
        running = control.find()
        if running is None:
            with self.console.step("local") as step:
                running = control.start(step.progress)
                step.done(f"the embedded cloud runs at {running.url}")
        return Cloud(endpoint_url=running.url, region=EMULATOR_REGION)

    def _in_account(self, cloud: Cloud) -> Cloud:
        wanted = self.settings.account
        if wanted is not None and (found := cloud.account()) != wanted:
            raise WrongAccountError(
                f"stage {self.stage} is in account {wanted}, and the credentials are of {found}",
                hint="name the right profile: `profile:` of the stage, --profile, or AWS_PROFILE",
            )
        return cloud

    def client(self, service: str) -> Any:
        """Return a boto3 client; one a service and command."""
        if service not in self._clients:
            self._clients[service] = self.cloud.client(service)
        return self._clients[service]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def store(self) -> Store:
        """The content store of images and layers, shared by all projects of this home."""
        return Store(folder("cache", "oci"))

    @cached_property
    def keys(self) -> Keys:
        """The keys that sign images and check their signatures."""
        return keys(self.project.signing)

    @cached_property
    def stacks(self) -> Stacks:
        """CloudFormation; the embedded cloud answers at once, so it is asked more often."""
        return Stacks(
            self.client("cloudformation"),
            bodies=Bodies(self.client("s3")),
            interval=0.1 if self.local else 2.0,
        )

    @cached_property
    def repositories(self) -> Repositories:
        """ECR's own API."""
        return Repositories(self.client("ecr"))

    @property
    def pins(self) -> Pins:
        """The words about images in the project's repository, which is made if need be."""
        repository = self.repositories.ensure(self.project.name)
        return Pins(self.client("ecr"), repository.arn)

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes and lists versions of the stage's function."""
        return Publisher(self.client("lambda"), self.name, interval=0.1 if self.local else 1.0)

    @cached_property
    def router(self) -> AliasRouter:
        """Reads and moves the alias that serves."""
        if not self.provisioned.count:
            return AliasRouter(self.client("lambda"), self.name, ALIAS)
        return StartedRouter(
            self.client("lambda"), self.name, ALIAS, self.provisioned, self.console.note
        )

    @cached_property
    def provisioned(self) -> Provisioned:
        """Keeps versions started; the embedded cloud does not, and bills nothing for it."""
        count = 0 if self.local else self.function.provisioned_concurrency or 0
        return Provisioned(self.client("lambda"), self.name, count)

    @cached_property
    def ledger(self) -> Ledger:
        """The stage's ledger."""
        return Ledger(
            self.client("dynamodb"), self.stack.outputs["LedgerTable"], ALIAS, copies=self.copies
        )

    @cached_property
    def copies(self) -> S3Copies | None:
        """The locked copies of the ledger, where the stage has a bucket for them."""
        bucket = self.stack.outputs.get("AuditBucket")
        return S3Copies(self.client("s3"), bucket, f"{ALIAS}/") if bucket else None

    @cached_property
    def around(self) -> Around:
        """What the stage has around its function: alarms, a key, a name; asks AWS for nothing."""
        alarms, stack = self.settings.alarms, self.settings.stack
        return Around(
            alarms=self.project.alarms if alarms is None else alarms,
            stack=self.project.stack if stack is None else stack,
            domain=self.settings.domain,
            local=self.local,
        )

    @cached_property
    def quota(self) -> int | None:
        """The account's quota of requests at once; None where no alarm asks for it.

        The embedded cloud has a number of its own, which limits nothing.
        """
        asked = self.around.alarms.concurrency is not None
        if self.local or not asked or self.function.reserved_concurrency:
            return None
        with translated():
            limit = self.client("lambda").get_account_settings()["AccountLimit"]
        return int(limit["ConcurrentExecutions"])

    @cached_property
    def api_keys(self) -> ApiKeys:
        """The API keys of the stage.

        Raises:
            UsageError: the stage is not called with keys, as it was deployed.

        """
        table = self.stack.outputs.get("KeysTable")
        if table is None:
            raise UsageError(
                f"stage {self.stage} is not called with API keys",
                hint="write `access: {api_key: {}}` for the stage in fnmodel.yaml, then deploy it",
            )
        return ApiKeys(self.client("dynamodb"), table)

    @cached_property
    def releases(self) -> Releases:
        """Publishes, judges and moves traffic."""
        return Releases(self.publisher, self.router, self.ledger)

    @cached_property
    def rollouts(self) -> Rollouts:
        """The stage's rollouts, driven from here."""
        bucket = self.stack.outputs["Bucket"]
        s3 = self.client("s3")
        meter = CloudWatchMeter(self.client("cloudwatch"), self.name, ALIAS, s3=s3, bucket=bucket)
        replayer = Replayer(
            self.cloud.client("lambda", wait=PATIENCE, once=True),
            self.name,
            CapturedRequests(s3, bucket, self.name, ALIAS),
            box=_LOCAL_BOX if self.local else _BOX,
        )
        rule = self.stack.outputs.get("RolloutClock")
        clock = RuleClock(self.client("events"), rule) if rule else NoClock()
        return Rollouts(self.router, self.ledger, ReplayingMeter(meter, replayer), clock)

    @property
    def stack(self) -> Stack:
        """The stage's stack, looked up once; `provision` sets the one it applied.

        Raises:
            StackNotFoundError: nothing is deployed.

        """
        if self._stack is None:
            self._stack = self._find_stack()
        return self._stack

    @stack.setter
    def stack(self, applied: Stack) -> None:
        self._stack = applied
        for made in _OF_OUTPUTS:
            self.__dict__.pop(made, None)

    def standing(self) -> Stack | None:
        """Return the stage's stack as it is now, None where nothing is deployed."""
        stack = self.stacks.find(self.name)
        # Without outputs it is the shell of a stage that never was, or what is left of one.
        return stack if stack is not None and "LedgerTable" in stack.outputs else None

    def _find_stack(self) -> Stack:
        stack = self.standing()
        if stack is None:
            where = "the embedded cloud" if self.local else "AWS"
            flag = " --local" if self.stage == "local" else f" --stage {self.stage}"
            raise StackNotFoundError(
                f"{self.project.name} is not deployed to stage {self.stage} in {where}",
                hint=f"`fnmodel deploy{flag}` deploys it",
            )
        return stack

    @property
    def open(self) -> bool:
        """Whether requests reach the stage: a first version has passed its gate."""
        return "Url" in self.stack.outputs

    @property
    def url(self) -> str:
        """The endpoint's URL, without a slash at its end.

        Raises:
            StackNotFoundError: nobody may call the stage yet.

        """
        if not self.open:
            raise StackNotFoundError(
                f"stage {self.stage} is not open yet: no version has passed its gate",
                hint="`fnmodel logs` shows what the version said; mend it and deploy again",
            )
        if self.local:
            return f"{self.cloud.endpoint_url}/_aws/execute-api/{self.stack.outputs['ApiId']}"
        return self.stack.outputs["Url"].rstrip("/")

    @property
    def watching(self) -> Watching | None:
        """How the stage is watched, None where it is not."""
        folder = str(self.file.parent) if self.local else None
        return Watching.of(self.project.watch, self.capture, folder, version("fnmodel"))

    @property
    def capture_key(self) -> str:
        """The stage's secret of keyed hashes, in hex; empty where nothing was captured yet.

        It lives in the function's environment and nowhere else, so that all who deploy use one. A
        stage that captures no more has it in the versions that did.
        """
        client = self.client("lambda")
        known: list[str] = []
        with translated():
            pages = client.get_paginator("list_versions_by_function").paginate(
                FunctionName=self.name
            )
            try:
                for version in (version for page in pages for version in page["Versions"]):
                    variables = version.get("Environment", {}).get("Variables", {})
                    known.append(variables.get("FNMODEL_CAPTURE_KEY", ""))
            except client.exceptions.ResourceNotFoundException:
                return ""
        # $LATEST comes first, then the versions, oldest first.
        return next(filter(None, [*known[:1], *known[:0:-1]]), "")

    @cached_property
    def hashes(self) -> Hashes:
        """The hashes of large files that have not changed."""
        return Hashes(folder("cache", "hashes"))

    @cached_property
    def caller(self) -> Caller:
        """How this machine calls the endpoint, as it was deployed."""
        return caller(self.stack.access, self.cloud, self.stage)

    @cached_property
    def recipe(self) -> Recipe:
        """What the image is to be; for the embedded cloud, one that this machine can run.

        Raises:
            UsageError: the stage asks for bubblewrap, and this machine cannot.

        """
        image = self.project.image
        whole = Recipe(
            self.project.name, image.python, image.architecture, image.base, self._sends_traces
        )
        if not self.local or self._runs_whole():
            return whole
        return replace(
            whole, python=self._host_python(), architecture=host_architecture(), base=None
        )

    @property
    def _sends_traces(self) -> bool:
        # In any stage: all stages run the very same image.
        settings = [self.project.function, *(s.function for s in self.project.stages.values())]
        return any(one is not None and one.tracing == "otlp" for one in settings)

    def pull(
        self,
        reference: Reference,
        architecture: Architecture,
        store: Store,
        progress: base.Progress,
    ) -> Image:
        """Fetch a base image; from ECR with the AWS credentials where `docker login` left none.

        Raises:
            RegistryError: the registry refused it.
            AwsError: ECR gave no credentials.

        """
        return base.pull(reference, architecture, store, progress, login=self._login)

    def _login(self, host: str) -> Credentials | None:
        found, region = from_docker(host), ecr_region(host)
        if found or region is None:
            return found
        # The base may lie in another account and region than the stage, or serve the local one.
        ecr = Cloud(region=region, profile=self._profile).client("ecr")
        login = Repositories(ecr).credentials()
        return Credentials(login.username, login.password)

    def _runs_whole(self) -> bool:
        """Whether the embedded cloud runs the image that AWS gets, in its base's own files."""
        image, wanted = self.project.image, self.settings.sandbox
        if wanted == "process":
            return False
        if image.base is None:
            obstacle = "`image.base` is not set"
        elif image.architecture != host_architecture():
            obstacle = f"the image is for {image.architecture}, and this machine is not"
        elif not bubblewrap.works():
            obstacle = "bubblewrap does not work on this machine; `fnmodel doctor` says more"
        else:
            return True
        if wanted == "bubblewrap":
            raise UsageError(
                f"stage {self.stage} asks for `sandbox: bubblewrap`, but {obstacle}",
                hint="mend that, or set `sandbox: process`",
            )
        return False

    def lock(self, requirements: Path, *, renew: bool = False) -> tuple[Lock, tuple[Change, ...]]:
        """Return the lock of a project's own requirements for the image, and what changed in it."""
        return lock(
            requirements, Lock.load(self.recipe.python), self.recipe.architecture, renew=renew,
            beside=tracing_lock(self.recipe.python) if self.recipe.tracing else None,
        )  # fmt: skip

    def _host_python(self) -> str:
        """Return the project's Python where this machine has it, else the one that runs now."""
        wanted = self.project.image.python
        return wanted if interpreter.find(wanted) else interpreter.RUNNING

    @property
    def repository(self) -> str:
        """The name of the repository of the project's images, in the registry of any stage."""
        return repository_name(self.project.name)

    def repository_uri(self) -> str:
        """Return where the project's images are, or will be; reads only."""
        found = self.repositories.find(self.repository)
        if found is not None:
            return found.uri
        account, region = self.cloud.account(), self.client("ecr").meta.region_name
        return f"{account}.dkr.ecr.{region}.amazonaws.com/{self.repository}"

    def packed(self, models: Mapping[str, OnnxModel]) -> OnnxModel | Mapping[str, OnnxModel]:
        """Return models as `pack` takes them: the one of a project that has one, or by name."""
        return models if self.project.models else models[self.project.name]

    def about(self, model: str) -> str:
        """Return the name of one of several models; empty where there is but one."""
        return model if self.project.models else ""

    def words(self, text: str, model: str) -> str:
        """Return words with the name in front of which of several models they are about."""
        return f"{model}: {text}" if self.project.models else text

    @contextmanager
    def naming(self, model: str) -> Iterator[None]:
        """Have errors of the block say which of several models they are about."""
        try:
            yield
        except FnmodelError as error:
            if self.project.models:
                error.about(f"model {model!r}")
            raise

    def gate(self, models: Mapping[str, OnnxModel]) -> Gate:
        """Return what judges a version: it must answer each model's probe as was proven."""
        client, several = self.client("lambda"), bool(self.project.models)
        return AllGates(
            [
                ProbeGate(client, self.name, name, model.probe(), named=several)
                for name, model in models.items()
            ]
        )

    def registry(self, image_uri: str) -> Registry:
        """Return a client of the registry that an image reference names, logged in."""
        if self.local:
            assert self.cloud.endpoint_url
            return Registry(self.cloud.endpoint_url)
        login = self.repositories.credentials()
        return Registry(Reference.parse(image_uri).url, Credentials(login.username, login.password))
