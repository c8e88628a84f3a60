"""Two stages beside each other: what serves in each, how it is set up, and what it answers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.cli import endpoint, promotion, recipe
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import FnmodelError
from fnmodel.model import OnnxModel
from fnmodel.pack import relay
from fnmodel.provision import parity
from fnmodel.provision.parity import Compared, Difference
from fnmodel.release.gate import both, compare, compare_answers
from fnmodel.release.probe import http_event, infer_event, predict_path
from fnmodel.release.publish import Version


@dataclass(frozen=True)
class Asked:
    """What a stage answered to the proof of one model of its image, over its API.

    `reason` is empty where all is as proven.
    """

    stage: str
    model: str
    checked: int
    reason: str


@dataclass(frozen=True)
class Parity:
    """How two stages stand to each other."""

    stages: tuple[str, str]
    digests: tuple[str, str]
    differences: tuple[Difference, ...]
    answers: tuple[Asked, ...]

    @property
    def unexpected(self) -> tuple[Difference, ...]:
        """The differences that fnmodel.yaml does not ask for."""
        return tuple(one for one in self.differences if not one.on_purpose)

    @property
    def holds(self) -> bool:
        """Whether both run the same image, set up as asked, with the answers that were proven."""
        return (
            self.digests[0] == self.digests[1]
            and not self.unexpected
            and not any(asked.reason for asked in self.answers)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--output json`."""
        return {
            "holds": self.holds,
            "digests": dict(zip(self.stages, self.digests, strict=True)),
            "differences": [
                {
                    "where": one.where,
                    "values": dict(zip(self.stages, (one.one, one.two), strict=True)),
                    "on_purpose": one.on_purpose,
                }
                for one in self.differences
            ],
            "answers": [
                {
                    "stage": asked.stage, "model": asked.model, "checked": asked.checked,
                    "as_proven": not asked.reason, "reason": asked.reason or None,
                }
                for asked in self.answers
            ],
        }  # fmt: skip


def compare_stages(one: Workspace, two: Workspace) -> Parity:
    """Compare what serves in two stages; reads only, but for the requests of the proof.

    Raises:
        StackNotFoundError, ReleaseError: one of them serves nothing.
        RegistryError: an image is gone.
        UsageError: the key or token that a stage asks for is not set.

    """
    serving = tuple(_serving(work) for work in (one, two))
    compared = [facts(work, version) for work, version in zip((one, two), serving, strict=True)]
    answers: list[Asked] = []
    for work, version in zip((one, two), serving, strict=True):
        with work.console.step("ask", work.stage) as step:
            found = _asked(work, version)
            answers += found
            bad = [asked for asked in found if asked.reason]
            count = sum(asked.checked for asked in found)
            step.done(bad[0].reason if bad else f"version {version.number}: {count} as proven")
    return Parity(
        (one.stage, two.stage), (serving[0].digest, serving[1].digest),
        parity.differences(compared[0], compared[1]), tuple(answers),
    )  # fmt: skip


def facts(work: Workspace, version: Version) -> Compared:
    """Return what a stage is with the version that serves, and what the project file says."""
    stack = work.stack
    standing = work.stacks.template(stack)
    live = parity.stack_facts(standing, stack.parameters)
    live |= parity.live_function(work.publisher.configuration(version.number), standing)
    state = work.router.read()
    live["traffic"] = dict(state.weights) or "one version"
    body, parameters = recipe.stack_of(
        work, stack.parameters["ImageUri"], serving=work.open, others=recipe.beside(stack)
    )
    wanted = json.loads(body)
    declared = parity.stack_facts(wanted, parameters)
    declared |= parity.declared_function(wanted, parameters)
    return Compared(live, {**declared, "traffic": "one version"})


def _serving(work: Workspace) -> Version:
    """Return the stable version, whatever share a candidate has."""
    _ = work.url  # which says so where nobody may call it yet
    return work.publisher.ready(work.router.read().version)


def _asked(work: Workspace, version: Version) -> list[Asked]:
    place = promotion.place_of(work, version.digest)
    image = relay.find(version.digest, place, work.store)
    with promotion.models_of(image, place, work) as models:
        return [_ask(work, name, model, models) for name, model in models.items()]


def _ask(work: Workspace, name: str, model: OnnxModel, models: Mapping[str, OnnxModel]) -> Asked:
    probe = model.probe()
    try:
        result = compare(probe, _sent(work, infer_event(name, probe["request"])))
        if "answers" in probe:
            path = predict_path(name if len(models) > 1 else "")
            body = json.dumps({"records": probe["records"]}, allow_nan=False)
            result = both(result, compare_answers(probe, _sent(work, http_event(path, body))))
    except _RefusedError as refused:
        return Asked(work.stage, name, 0, refused.message)
    reason = str(result.mismatches[0]) if result.mismatches else ""
    return Asked(work.stage, name, result.checked, reason)


class _RefusedError(FnmodelError):
    """The endpoint gave another answer than 200 with a JSON object."""


def _sent(work: Workspace, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send over the API what the gate sends to a version."""
    body = event["body"]
    data = base64.b64decode(body) if event["isBase64Encoded"] else body.encode()
    binary = "inference-header-content-length"
    extra = {binary: event["headers"][binary]} if binary in event["headers"] else {}
    answer = endpoint.send(f"{work.url}{event['rawPath']}", data, work.caller, extra)
    if answer.status != 200 or not isinstance(answer.body, dict):
        raise _RefusedError(f"{work.stage} answers {answer.status}: {str(answer.body)[:200]}")
    return answer.body
