"""Gathers what is known of a release, for its card; what cannot be had is named with the reason."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fnmodel.card.facts import Data, Facts, Limits, Usage
from fnmodel.cli import endpoint, inspection, recipe, trust
from fnmodel.cli.traffic import shares
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import CredentialsError, StackNotFoundError, UsageError
from fnmodel.home import folder
from fnmodel.model import OnnxModel
from fnmodel.pack.layout import Store
from fnmodel.profile import REFERENCE, read_reference
from fnmodel.release import probe
from fnmodel.slim.proof.report import FILE as PARITY
from fnmodel.slim.proof.report import ParityReport
from fnmodel.slim.slim import Slimmed

_DRIFT = Path("drift.json")


@dataclass(frozen=True)
class Asked:
    """Which release a card is of: a version of the stage, or what was packed here."""

    version: str | None = None
    packed: bool = False
    model: str | None = None
    drift: Path | None = None


@dataclass(frozen=True)
class _Stage:
    """What a stage says of one of its versions."""

    image: Data
    releases: Sequence[Data]
    traffic: str


def facts(work: Workspace, asked: Asked) -> Facts:
    """Gather what is known.

    Raises:
        UsageError: there is no such version, or its model was made elsewhere.

    """
    name = work.project.model_name(asked.model)
    missing: dict[str, str] = {}
    stage = None if asked.packed else _stage(work, asked.version, missing)
    if stage is None:
        missing.setdefault("releases", "the card is of what was packed here")
        missing.setdefault("usage", missing["releases"])
    image = stage.image if stage else _packed(work, missing)
    slimmed = _slimmed(work, name, image)
    reference = None
    if (slimmed.model.folder / REFERENCE).exists():
        reference = read_reference(slimmed.model.folder)
    else:
        missing["reference"] = "the project had no sample of the training data"
    parity: Data = json.loads(json.dumps(slimmed.report.to_json()))
    made = Facts(
        name,
        datetime.now(UTC).isoformat(timespec="seconds"),
        slimmed.model.signature,
        slimmed.model.digest,
        slimmed.model.size,
        parity,
        Limits(work.function.memory, work.function.timeout),
        reference,
        image,
        stage.releases if stage else None,
        stage.traffic if stage else "",
        _drift(asked.drift, name, missing),
        said=work.project.card.model_dump(mode="json"),
        missing=missing,
    )
    return replace(made, usage=_usage(work, name, missing)) if stage else made


def _stage(work: Workspace, version: str | None, missing: dict[str, str]) -> _Stage | None:
    try:
        _ = work.stack  # told apart from a stage without its first version
        alias = work.router.read()
    except (StackNotFoundError, CredentialsError) as error:
        if version is not None:
            raise
        missing["releases"] = missing["usage"] = error.message
        return None
    number = version or alias.version
    digests = {one.number: one.digest for one in work.publisher.versions()}
    if number not in digests:
        raise UsageError(
            f"there is no version {number}", hint=f"--version is one of {', '.join(digests)}"
        )
    digest = digests[number]
    records = [asdict(one) for one in work.ledger.records() if one.digest == digest]
    share = shares(alias.version, alias.weights).get(number, 0.0)
    traffic = f"version {number}, {share:.0%} of requests in {work.stage}"
    return _Stage(_inspected(work, f"{work.repository_uri()}@{digest}"), records, traffic)


def _packed(work: Workspace, missing: dict[str, str]) -> Data | None:
    try:
        return _inspected(work, f"{work.project.name}-{work.recipe.python}")
    except UsageError:
        missing["image"] = "nothing is packed; `fnmodel pack` does"
        return None


def _inspected(work: Workspace, image: str) -> Data:
    found = inspection.find(image, Store(folder("cache", "oci")), lambda of: work.registry(str(of)))
    trusted = trust.trusted(work.project.signing.trusted)
    made: dict[str, Any] = json.loads(json.dumps(inspection.inspect(found, trusted).to_json()))
    return made


def _slimmed(work: Workspace, name: str, image: Data | None) -> Slimmed:
    """Return the model that the image holds, which the project may have gone on from."""
    now = recipe.slim(work, gate=False)[name]
    wanted = _digest(image, name)
    if wanted in (None, now.model.digest):
        return now
    for report in folder("cache", "slim").glob(f"*/{PARITY}"):
        model = OnnxModel.load(report.parent / "model")
        if model.digest == wanted:
            return Slimmed(model, ParityReport.read(report), cached=True)
    raise UsageError(
        f"the image holds the model {wanted}, and this machine made {now.model.digest}",
        hint="run it where that was deployed from, or `fnmodel card --packed` on what is here",
    )


def _digest(image: Data | None, name: str) -> str | None:
    if image is None:
        return None
    models: Mapping[str, str] = image["models"]
    found = models.get(name) or next(iter(models.values()), None)
    return found if found is None or found.startswith("sha256:") else f"sha256:{found}"


def _drift(path: Path | None, name: str, missing: dict[str, str]) -> Data | None:
    if path is None and not _DRIFT.is_file():
        missing["drift"] = "`fnmodel watch report` makes one"
        return None
    file = path or _DRIFT
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
        about = found["question"]["name"]
        known = {key: found[key] for key in ("alarms", "rows", "versions", "question", "drift")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} is no report: {error!r}", hint="`fnmodel watch report` writes one"
        ) from error
    if about != name:
        missing["drift"] = f"{file} is about {about}"
        return None
    return known


def _usage(work: Workspace, name: str, missing: dict[str, str]) -> Usage | None:
    request = work.project.served[name].request
    if not work.open:
        missing["usage"] = "the stage is not open yet"
        return None
    url = f"{work.url}{probe.predict_path(name if work.project.models else '')}"
    body: Any = {"records": []}
    if request is not None and request.is_file():
        body = json.loads(request.read_bytes())
    access = work.stack.access or "anybody"
    return Usage(url, access, endpoint.curl(url, body, work.caller))
