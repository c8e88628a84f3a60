"""What captured requests have shown, sent once more to both versions; pure.

Both get the very same request, by their numbers, so that no caller waits for it and no metric of
the alias counts it. The tests are paired (`fnmodel.paired`), and far stronger than those of two
samples of the same size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from fnmodel.model import Tolerance
from fnmodel.paired import Paired
from fnmodel.release.plan import Limits
from fnmodel.sequential import Above, Share

if TYPE_CHECKING:
    from fnmodel.distribution import Shift
    from fnmodel.paired import PairedShift

FLIPS = 0.01
"""Share of rows that may be answered beyond the tolerance where both versions hold the same model:
on another processor a row at the very edge of a tree can fall on the other side."""

UNLIKE = 0.1
"""Share of captured rows that may be beyond replaying; above it, the rest is another population."""

STABLE, CANDIDATE = 0, 1
"""Places in `Replayed.failed`."""

_HALF = 0.5
_NAMED = 5


@dataclass(frozen=True)
class Asked:
    """How one version answered; `ms` and `billed` are Lambda's own, None where it did not tell.

    `failed` is a crash, a time-out or a 5xx. `row` are the prediction's columns.
    """

    failed: bool = False
    ms: float | None = None
    billed: int = 0
    cold: bool = False
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Pair:
    """One request and both answers.

    `request` is the id under which it was captured. `apart` says that the answers differ beyond the
    tolerance of the model's proof.
    """

    request: str
    stable: Asked
    candidate: Asked
    apart: bool = False


@dataclass(frozen=True)
class Place:
    """How far captured rows were taken: from the newest to the oldest, then what came since.

    `newest` is the key of the newest object that was seen, `key` that of the one that is read, of
    which `taken` requests were. `proof` counts the rows of the model's proof that were taken.
    """

    newest: str = ""
    key: str = ""
    taken: int = 0
    older: bool = True
    proof: int = 0


@dataclass(frozen=True)
class Batch:
    """What one look has replayed: pairs, and how many rows could not be.

    `asked` counts the rows for which both versions were invoked, usable or not, and `billed_ms` is
    what Lambda bills for that. `exhausted` says that there are no more rows; `proof` how many pairs
    are of the model's proof; `broken` why it ended early.
    """

    pairs: tuple[Pair, ...] = ()
    asked: int = 0
    unusable: int = 0
    proof: int = 0
    billed_ms: int = 0
    place: Place = Place()
    exhausted: bool = False
    broken: str = ""


@dataclass(frozen=True)
class Replayed:
    """What all replayed requests of a rollout have come to.

    `asked` counts the rows for which both versions were invoked; `pairs` those that the stable
    version answered, as it had when they were captured; `sent` these and the ones on which it
    failed. `tolerance` is given where both versions hold the same model. `differing` are ids of
    requests that the candidate failed, or answered otherwise. `broken` is why the last look could
    not replay on.
    """

    rate: Paired | None = None
    increase: Paired | None = None
    slower: Above | None = None
    flips: Above | None = None
    shift: "PairedShift | None" = None
    tolerance: Tolerance | None = None
    pairs: int = 0
    sent: int = 0
    asked: int = 0
    unusable: int = 0
    proof: int = 0
    billed_ms: int = 0
    failed: tuple[int, int] = (0, 0)
    place: Place = Place()
    exhausted: bool = False
    unread: str = ""
    broken: str = ""
    differing: tuple[str, ...] = ()

    @property
    def unlike(self) -> bool:
        """Whether so many rows cannot be replayed that the others do not stand for all."""
        return self.unusable > UNLIKE * (self.sent + self.unusable)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = asdict(replace(self, shift=None))
        return {**data, "shift": self.shift.to_json() if self.shift is not None else None}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Replayed":
        """Read what `to_json` returned."""
        made = dict(data)
        for key, kind in (("rate", Paired), ("increase", Paired), ("tolerance", Tolerance)):
            made[key] = made[key] and kind(**made[key])
        for key in ("slower", "flips"):
            made[key] = made[key] and Above.from_json(made[key])
        if made["shift"] is not None:
            # Counting loads numpy, which only this check needs.
            from fnmodel.paired import PairedShift

            made["shift"] = PairedShift.from_json(made["shift"])
        made["place"] = Place(**made["place"])
        for key in ("failed", "differing"):
            made[key] = tuple(made[key])
        return Replayed(**made)


def nothing(limits: Limits, shift: "Shift | None", tolerance: Tolerance | None) -> Replayed:
    """Return the evidence before the first pair; `shift` holds the bins of predictions."""
    paired = None
    if shift is not None and limits.prediction_shift is not None:
        from fnmodel.paired import PairedShift

        paired = PairedShift.between(shift.a, limits.prediction_shift)
    return Replayed(
        # Where B's share of failures is within the limit, it is above A's by no more than that.
        rate=Paired(limits.error_rate) if limits.error_rate is not None else None,
        increase=Paired(limits.error_increase) if limits.error_increase is not None else None,
        slower=Above(_HALF) if limits.latency_ratio is not None else None,
        flips=Above(FLIPS) if tolerance is not None else None,
        shift=paired,
        tolerance=tolerance,
    )


def add(known: Replayed, batch: Batch, limits: Limits, random: Random) -> Replayed:
    """Return the evidence with what one more look has replayed."""
    pairs = batch.pairs
    answered = [pair for pair in pairs if not pair.stable.failed]
    fails = [int(pair.candidate.failed) - int(pair.stable.failed) for pair in pairs]
    bad = [p.request for p in pairs if not p.stable.failed and (p.candidate.failed or p.apart)]
    known = replace(
        known,
        rate=known.rate.add(fails) if known.rate is not None else None,
        increase=known.increase.add(fails) if known.increase is not None else None,
        pairs=known.pairs + len(answered),
        sent=known.sent + len(pairs),
        asked=known.asked + batch.asked,
        unusable=known.unusable + batch.unusable,
        proof=known.proof + batch.proof,
        billed_ms=known.billed_ms + batch.billed_ms,
        failed=(
            known.failed[0] + sum(pair.stable.failed for pair in pairs),
            known.failed[1] + sum(pair.candidate.failed for pair in pairs),
        ),
        place=batch.place,
        exhausted=batch.exhausted,
        broken=batch.broken,
        differing=(*known.differing, *bad)[:_NAMED],
    )
    if known.slower is not None:
        slower = known.slower.add(_slower(answered, limits.latency_ratio or 1.0), random)
        known = replace(known, slower=slower)
    both = [pair for pair in answered if not pair.candidate.failed]
    if known.flips is not None:
        apart = Share(sum(pair.apart for pair in both), len(both))
        known = replace(known, flips=known.flips.add(apart, random))
    return _look_at_predictions(known, both)


def _slower(pairs: Sequence[Pair], ratio: float) -> Share:
    """Return in how many pairs of warm starts the candidate took longer than `ratio` allows."""
    warm = [
        pair.candidate.ms > ratio * pair.stable.ms
        for pair in pairs
        if pair.stable.ms is not None and pair.candidate.ms is not None
        if not (pair.stable.cold or pair.candidate.cold)
    ]
    return Share(sum(warm), len(warm))


def _look_at_predictions(known: Replayed, pairs: Sequence[Pair]) -> Replayed:
    from fnmodel.errors import InputError

    if known.shift is None:
        return known
    rows = [(p.stable.row or {}, p.candidate.row or {}) for p in pairs]
    try:
        shift = known.shift.add([row for row, _ in rows], [row for _, row in rows])
    except InputError as error:
        return replace(known, unread=error.message)
    return replace(known, shift=shift)
