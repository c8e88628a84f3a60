"""Decides which versions of a function nothing can reach any more; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fnmodel.release.alias import AliasState
from fnmodel.release.ledger import Record
from fnmodel.release.tick import Rollout


@dataclass(frozen=True)
class Decision:
    """What stays, and why, by version; what goes; and which of what stays gets no requests."""

    kept: Mapping[str, str]
    removed: tuple[str, ...]
    idle: tuple[str, ...]


def decide(
    numbers: Sequence[str],
    aliases: Mapping[str, AliasState],
    rollout: Rollout | None,
    records: Iterable[Record],
    keep: int,
) -> Decision:
    """Judge each of the versions `numbers`, oldest first.

    `records` are the ledger's, newest first. The `keep` versions that were stable last, before the
    one that is, are the ways back.
    """
    known = tuple(records)
    why: dict[str, str] = {}
    serving = set()
    for name, state in aliases.items():
        why.setdefault(state.version, f"{name} points to it")
        for number, weight in state.weights.items():
            why.setdefault(number, f"{name} gives it {weight:.4g} of the requests")
        serving |= {state.version, *state.weights}
    if rollout is not None and rollout.active:
        why.setdefault(rollout.candidate, "the candidate of a rollout")
        why.setdefault(rollout.stable, "where a rollout goes back to")
    if numbers:
        why.setdefault(numbers[-1], "the newest; Lambda compares the next one with it")
    deployed = next((r.version for r in known if r.action == "deploy"), None)
    if deployed is not None:
        why.setdefault(deployed, "the newest deploy")
    for place, number in enumerate(_ways_back(known, set(numbers), serving)[:keep], 1):
        why.setdefault(number, f"way back {place} of {keep}")
    kept = {number: why[number] for number in numbers if number in why}
    return Decision(
        kept,
        tuple(number for number in numbers if number not in why),
        tuple(number for number in kept if number not in serving),
    )


def _ways_back(records: Sequence[Record], numbers: set[str], serving: set[str]) -> tuple[str, ...]:
    """Return the versions that were stable, the last one first."""
    found: dict[str, None] = {}
    for record in records:
        for number in (record.stable, record.previous):
            if number is not None and number in numbers and number not in serving:
                found.setdefault(number)
    return tuple(found)
