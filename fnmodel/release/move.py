"""Moves the alias between a record of the intent and one of the result."""

from collections.abc import Iterable
from dataclasses import replace

from fnmodel.errors import ConflictError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.ledger import Lease, Record, Result


def release_id(version: str, digest: str) -> str:
    """Return the id of a release; the same version has the same one in every run."""
    return f"v{version}-{digest.removeprefix('sha256:')[:12]}"


def last_move(records: Iterable[Record]) -> Record | None:
    """Return the newest record that is about the alias; a gate and an unlock move nothing."""
    return next((record for record in records if record.action not in {"gate", "unlock"}), None)


def describes(record: Record, state: AliasState) -> bool:
    """Whether a record says of the alias what it says itself."""
    return record.stable == state.version and dict(record.weights) == dict(state.weights)


def repair(lease: Lease, last: Record | None, state: AliasState) -> None:
    """Write the result that a killed run owes the ledger, as the alias shows it.

    `last` is the newest record of a move.
    """
    if last is None or last.result != "started":
        return
    if describes(last, state):
        lease.append(replace(last, result="done", reason="found done by a later run"))


def move(
    lease: Lease, router: AliasRouter, record: Record, state: AliasState, target: AliasState
) -> AliasState:
    """Move the alias from the state that was read to `target`; return what it says then.

    `record` says what is done and why; its result is filled in. Where the alias serves as `target`
    already, only that is written.

    Raises:
        ConflictError: somebody else moved the alias meanwhile.

    """

    def append(result: Result, reason: str = "") -> None:
        lease.append(replace(record, result=result, reason=reason or record.reason))

    if target.serves_as(state):
        append("done")
        return state
    append("started")
    try:
        moved = router.move(target, state)
    except ConflictError as error:
        # When only the answer was lost, botocore's own repetition meets our own move.
        moved = router.read()
        if not moved.serves_as(target):
            append("failed", error.message)
            raise
    append("done")
    return moved
