"""A stack and the cloud in, what was changed by hand out.

CloudFormation's own drift detection takes minutes, needs a call that starts it, and looks neither
at what was added beside the template nor at several types of ours. Here each type has a reader
(`live/`), and the comparison is a pure function, so that AWS and the embedded cloud are judged
alike. Traffic is the release's: `traffic` compares the alias with the ledger.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from fnmodel.aws import translated
from fnmodel.errors import AwsError
from fnmodel.provision.edits import edits, same
from fnmodel.provision.live.found import Client, Found, absent
from fnmodel.provision.live.readers import READERS
from fnmodel.provision.resolve import MARK, Resource
from fnmodel.provision.standing import Standing

_SECRET = "a value of {} characters"  # noqa: S105 - words
_VARIABLES = "Environment.Variables."
# Moved by the Events API while a rollout goes on.
CLOCK = "RolloutClock"


@dataclass(frozen=True)
class Drift:
    """One hand edit: where, what the template has, and what stands; None is absent.

    `kind` is changed, missing (the whole resource), or added (a part that no template asked for).
    `unset` tells that a property has been taken away.
    """

    logical_id: str
    type: str
    kind: Literal["changed", "missing", "added"]
    path: str
    expected: Any
    found: Any
    unset: bool = False


@dataclass(frozen=True)
class Survey:
    """What was found, and what could not be looked at: reasons by logical id."""

    drifts: tuple[Drift, ...]
    unread: Mapping[str, str]


def survey(
    standing: Standing,
    client: Client,
    *,
    forgotten: Collection[tuple[str, str]] = (),
    rolling: bool = False,
) -> Survey:
    """Look at every resource of a stack that has a reader.

    `forgotten` are properties (type and name) that this cloud takes and does not keep; where it has
    none of them, that is no edit. `rolling` tells that a rollout is under way, whose clock runs.
    """
    known = frozenset(standing.physical.values())
    asked = standing.resources
    unread: dict[str, str] = {}
    found: dict[str, Found | None] = {}

    def look(name: str) -> tuple[str, Found | str | None]:
        resource = asked[name]
        reader = READERS.get(resource.type)
        if reader is None:
            return name, "its type has no reader"
        return name, _read(lambda: reader(client, standing.physical[name], resource.properties))

    _make_clients(client)
    with ThreadPoolExecutor(max_workers=8) as pool:
        names = [name for name in asked if name in standing.physical]
        for name, outcome in pool.map(look, names):
            if isinstance(outcome, str):
                unread[name] = outcome
            else:
                found[name] = outcome
    drifts = [
        drift
        for name, one in found.items()
        for drift in compare(name, asked[name], one, tags=standing.tags, known=known)
    ]
    return Survey(
        tuple(
            drift
            for drift in _once(drifts)
            if not _is_forgotten(drift, forgotten) and not (rolling and _is_clock(drift))
        ),
        unread,
    )


def compare(
    name: str,
    asked: Resource,
    found: Found | None,
    *,
    tags: Mapping[str, str],
    known: Collection[str],
) -> list[Drift]:
    """Return how a resource differs from what was asked for; pure.

    `tags` are the stack's, which CloudFormation puts on all its resources. `known` are physical
    ids of the stack: parts of other ids were added.
    """
    if found is None:
        return [Drift(name, asked.type, "missing", "", asked.type, None)]
    drifts = []
    for key, value in found.properties.items():
        default = found.defaults.get(key)
        for edit in edits(asked.properties.get(key, default), value, key, marks=True):
            # Of a property that is gone the service shows its default.
            unset = edit.after is None or (edit.path == key and same(edit.after, default))
            drift = Drift(name, asked.type, "changed", edit.path, edit.before, edit.after, unset)
            drifts.append(_hidden(drift))
    if found.tags is not None:
        # Tags beside ours are the business of whoever put them there.
        drifts += [
            Drift(
                name,
                asked.type,
                "changed",
                f"Tags[{key}]",
                value,
                found.tags.get(key),
                unset=key not in found.tags,
            )
            for key, value in tags.items()
            if found.tags.get(key) != value
        ]
    own = {part for identity in known for part in _parts(identity)}
    drifts += [
        Drift(name, asked.type, "added", kind, None, words)
        for (kind, identity), words in found.beside.items()
        if not own & set(_parts(identity))
    ]
    return drifts


def traffic(alias: str, said: str | None, found: str) -> list[Drift]:
    """Return how an alias differs from the ledger's last word on it; both in words."""
    if said is None or said == found:
        return []
    return [Drift(alias, "AWS::Lambda::Alias", "changed", "traffic", said, found)]


def _once(drifts: list[Drift]) -> list[Drift]:
    """Leave out what is told of an alias and was told of its function already."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for drift in drifts:
        what = (drift.path, str(drift.found))
        if drift.kind != "added" or what not in seen:
            kept.append(drift)
        seen.add(what)
    return kept


def _parts(identity: str) -> list[str]:
    """Return an id, and what it is without the ids of those that it is a part of."""
    return [identity, *(identity.rsplit(mark, 1)[1] for mark in "|/" if mark in identity)]


def _hidden(drift: Drift) -> Drift:
    """Leave out what a variable holds that is not the template's: it may be a secret."""
    if drift.path in {"Environment", "Environment.Variables"} and drift.found is not None:
        return replace(drift, found="variables that are not shown")
    if not drift.path.startswith(_VARIABLES):
        return drift
    shown = drift.found if drift.found is None else _SECRET.format(len(str(drift.found)))
    told = drift.expected
    if isinstance(told, str) and MARK.search(told):
        told = "a value that is not shown"
    return replace(drift, expected=told, found=shown)


def _is_forgotten(drift: Drift, forgotten: Collection[tuple[str, str]]) -> bool:
    top = drift.path.split(".", 1)[0].split("[", 1)[0]
    return drift.unset and (drift.type, top) in forgotten


def _is_clock(drift: Drift) -> bool:
    return (drift.logical_id, drift.path) == (CLOCK, "State")


def _read(look: Callable[[], Found | None]) -> Found | str | None:
    """Return what a reader finds; a refusal of AWS in words, as it concerns one resource only."""
    try:
        with translated():
            return look()
    except AwsError as error:
        if error.__cause__ is not None and absent(error.__cause__):  # type: ignore[arg-type]
            return None
        if type(error) is not AwsError:
            raise
        return error.message


def _make_clients(client: Client) -> None:
    # A client may be used by several threads, and must not be made by several.
    for service in (
        "apigatewayv2", "cloudwatch", "codebuild", "dynamodb", "events", "firehose", "iam", "kms",
        "lambda", "logs", "route53", "s3", "scheduler", "sns", "sqs", "stepfunctions",
    ):  # fmt: skip
        client(service)
