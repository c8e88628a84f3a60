"""Where an alias should point, decided without AWS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnmodel.errors import ReleaseError
from fnmodel.release.alias import AliasState
from fnmodel.release.rollout import promote, rollback, shift

STABLE = AliasState("1", revision_id="r")
CANARY = AliasState("1", {"2": 0.1}, "r")


@pytest.mark.parametrize(
    ("state", "candidate", "percent", "version", "weights"),
    [
        (STABLE, "2", 10, "1", {"2": 0.1}),
        (STABLE, "2", 0.5, "1", {"2": 0.005}),
        (STABLE, "2", 0, "1", {}),
        (STABLE, "2", 100, "2", {}),
        (CANARY, "2", 50, "1", {"2": 0.5}),
        (CANARY, "2", 0, "1", {}),
        (CANARY, "2", 100, "2", {}),
        (CANARY, "1", 100, "1", {}),
        (CANARY, "1", 0, "1", {}),
        (STABLE, "1", 100, "1", {}),
    ],
)
def test_a_shift_gives_the_candidate_its_share(
    state: AliasState, candidate: str, percent: float, version: str, weights: dict[str, float]
) -> None:
    """0 takes the requests away, 100 makes it stable, and the revision read is kept."""
    assert shift(state, candidate, percent) == AliasState(version, weights, "r")


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
def test_a_share_outside_0_to_100_is_refused(percent: float) -> None:
    """It is a slip of the fingers, never a wish."""
    with pytest.raises(ReleaseError, match="not a share"):
        shift(STABLE, "2", percent)


@pytest.mark.parametrize("percent", [0.004, 99.996])
def test_a_share_that_lambda_would_round_to_an_end_is_refused(percent: float) -> None:
    """It would be no requests, or all of them."""
    with pytest.raises(ReleaseError, match="closer to"):
        shift(STABLE, "2", percent)


def test_the_stable_version_cannot_be_its_own_candidate() -> None:
    """Half of the requests from version 1 to version 1 is no rollout."""
    with pytest.raises(ReleaseError, match="stable one already"):
        shift(STABLE, "1", 50)


@pytest.mark.parametrize("percent", [20, 100])
def test_a_third_version_is_refused_while_a_rollout_runs(percent: float) -> None:
    """An alias holds two versions; the one under way is finished first."""
    with pytest.raises(ReleaseError, match=r"version 2 has 0.1 .* third") as caught:
        shift(CANARY, "3", percent)
    assert "rollback" in caught.value.hint


def test_promote_makes_the_candidate_stable_and_is_idempotent() -> None:
    """The second promotion is the same state."""
    promoted = promote(CANARY, "2")

    assert promoted == AliasState("2", revision_id="r")
    assert promote(promoted, "2") == promoted


def test_rollback_takes_the_candidate_away_first() -> None:
    """With weights active the stable version stays, whatever was stable before it."""
    assert rollback(CANARY, "0") == AliasState("1", revision_id="r")
    assert rollback(STABLE, "0") == AliasState("0", revision_id="r")


@pytest.mark.parametrize("previous", [None, "1"])
def test_a_first_version_has_no_way_back(previous: str | None) -> None:
    """The error says so, with what can be done instead."""
    with pytest.raises(ReleaseError, match="nothing to go back to") as caught:
        rollback(STABLE, previous)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("version", "weights"),
    [("1", {"2": 1.5}), ("1", {"2": 0.0}), ("1", {"2": 0.1, "3": 0.1}), ("1", {"1": 0.5}),
     ("$LATEST", {"2": 0.5}), ("1", {"$LATEST": 0.5})],
)  # fmt: skip
def test_an_impossible_state_cannot_be_made(version: str, weights: dict[str, float]) -> None:
    """Lambda would refuse it; a value that checks itself never gets that far."""
    with pytest.raises(ValueError, match=r"alias|weight|versions"):
        AliasState(version, weights)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("shift"), st.sampled_from("1234"), st.integers(0, 100)),
            st.tuples(st.just("promote"), st.sampled_from("1234"), st.just(0)),
            st.tuples(st.just("rollback"), st.sampled_from("1234"), st.just(0)),
        ),
        max_size=30,
    )
)
def test_no_sequence_of_moves_leaves_what_lambda_allows(moves: list[tuple[str, str, int]]) -> None:
    """At most two different versions, shares in 0..1, the candidate never promoted by accident."""
    state = AliasState("1")
    for move, version, percent in moves:
        try:
            if move == "shift":
                moved = shift(state, version, percent)
            else:
                moved = (promote if move == "promote" else rollback)(state, version)
        except ReleaseError:
            continue
        assert len(moved.weights) <= 1
        assert all(0 < weight < 1 for weight in moved.weights.values())
        if move == "shift" and percent < 100:
            assert moved.version == state.version
        state = moved
