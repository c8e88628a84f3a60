"""Decides where an alias should point; pure, so that every move can be tested without AWS."""

from fnmodel.errors import ReleaseError
from fnmodel.release.alias import AliasState


def shift(state: AliasState, candidate: str, percent: float) -> AliasState:
    """Return the state in which `candidate` gets `percent` of the requests; 100 promotes it.

    Raises:
        ReleaseError: percent is not in 0..100 or too near to an end, `candidate` is the stable
            version, or another candidate has a share.

    """
    if not 0 <= percent <= 100:
        raise ReleaseError(
            f"{percent:g} is not a share of the requests", hint="give a percentage from 0 to 100"
        )
    if percent == 100:
        return promote(state, candidate)
    if candidate == state.version:
        if percent == 0:
            return AliasState(state.version, revision_id=state.revision_id)
        raise ReleaseError(
            f"version {candidate} is the stable one already, it gets all the requests",
            hint="`fnmodel deploy` makes a candidate of a new image",
        )
    _refuse_second(state, candidate)
    # Lambda keeps weights as binary fractions; four decimals are a hundredth of a percent.
    weight = round(percent / 100, 4)
    if percent and not 0 < weight < 1:
        raise ReleaseError(
            f"{percent:g} % is closer to {weight:.0%} than a share can be",
            hint="give 0 or 100, or a percentage from 0.01 to 99.99",
        )
    return AliasState(state.version, {candidate: weight} if weight else {}, state.revision_id)


def promote(state: AliasState, candidate: str) -> AliasState:
    """Return the state in which `candidate` is stable and gets all the requests.

    Raises:
        ReleaseError: another candidate has a share.

    """
    _refuse_second(state, candidate)
    return AliasState(candidate, revision_id=state.revision_id)


def rollback(state: AliasState, previous: str | None) -> AliasState:
    """Return the state before the last move: without the candidate, else `previous` as stable.

    Raises:
        ReleaseError: there is neither a candidate nor a previous version.

    """
    if state.weights:
        return AliasState(state.version, revision_id=state.revision_id)
    if previous is None or previous == state.version:
        raise ReleaseError(
            f"version {state.version} is the first stable one; there is nothing to go back to",
            hint="deploy an image that works, or stop serving with `fnmodel destroy`",
        )
    return AliasState(previous, revision_id=state.revision_id)


def _refuse_second(state: AliasState, candidate: str) -> None:
    other = state.candidate
    if other is not None and candidate not in {other, state.version}:
        raise ReleaseError(
            f"version {other} has {state.weights[other]:.4g} of the requests; "
            f"version {candidate} would be a third one",
            hint="finish that rollout first: `fnmodel promote` or `fnmodel rollback`",
        )
