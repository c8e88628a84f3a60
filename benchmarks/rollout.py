"""How soon a rollout finds a bad candidate, and how often it suspects a good one; by simulation.

    python benchmarks/rollout.py [ROLLOUTS]

Each rollout is a canary of 10 % that is looked at every minute, 500 requests a minute, as
`fnmodel.release.analysis` looks. Nothing is deployed, and no clock is waited for.

The second table holds pairs against two samples: the same rows answered by both versions, as a
replay asks them, and as many rows of each, which were asked by different callers.
"""

import math
import statistics
import sys
from collections.abc import Sequence
from random import Random

from fnmodel.distribution import Shift
from fnmodel.histogram import Categories, Column
from fnmodel.paired import Paired, PairedShift
from fnmodel.release.analysis import Evidence, Readings, Requests, look, none_yet
from fnmodel.release.findings import Verdict, findings
from fnmodel.release.plan import Limits

STABLE, CANDIDATE, LOOKS = 450, 50, 30
LIMITS = Limits(latency_ratio=1.5)
MARGIN, NEEDED, BATCH = 0.1, -math.log(0.01), 25
SHARE = 0.3
"""The stable version's share of positive labels."""


def quiet(random: Random) -> Evidence:
    """Return the evidence after the first look, which only notes where counting begins."""
    return look(none_yet(LIMITS), Readings(p99_before=20.0), LIMITS, random)


def served(before: Requests, count: int, errors: float, slow: float, random: Random) -> Requests:
    """Return what a version did after some more requests."""

    def some(share: float) -> int:
        return sum(random.random() < share for _ in range(count))

    return Requests(
        before.count + count, before.errors + some(errors), 0, before.timed + count,
        before.slow + some(slow),
    )  # fmt: skip


def found(seed: int, errors: float, slow: float, *, stable: float = 0.001) -> int | None:
    """Return the candidate's requests until it was found bad, or None."""
    random = Random(seed)  # noqa: S311
    evidence, a, b = quiet(random), Requests(), Requests()
    for _ in range(LOOKS):
        a = served(a, STABLE, stable, 0.01, random)
        b = served(b, CANDIDATE, errors, slow, random)
        evidence = look(evidence, Readings(a, b), LIMITS, random)
        said = findings(evidence, LIMITS, b.count)
        if any(finding.verdict is Verdict.failed for finding in said):
            return b.count
    return None


def shifted(seed: int, share: float, margin: float = 0.1) -> int | None:
    """Return the candidate's rows until its labels were found shifted, or None."""
    random = Random(seed)  # noqa: S311
    bins: dict[str, Column] = {"label": Categories(("no", "yes"))}
    shift, rows = Shift.between(bins, margin), 0

    def some(count: int, yes: float) -> list[dict[str, str]]:
        return [{"label": "yes" if random.random() < yes else "no"} for _ in range(count)]

    for _ in range(LOOKS):
        rows += CANDIDATE
        shift = shift.add(some(STABLE, SHARE), some(CANDIDATE, share))
        if shift.log_evidence >= NEEDED:
            return rows
    return None


def both_ways(seed: int, moved: float, back: float = 0.0, *, most: int = 1000) -> list[int | None]:
    """Return the rows until a shift of labels was found by pairs, and by two samples, or None.

    The stable version says yes to SHARE of the rows. Of its noes the candidate says yes to a share
    `moved`, of its yeses no to a share `back`.
    """
    random = Random(seed)  # noqa: S311
    bins: dict[str, Column] = {"label": Categories(("no", "yes"))}
    paired, shift = PairedShift.between(bins, MARGIN), Shift.between(bins, MARGIN)
    until: list[int | None] = [None, None]

    def stable() -> str:
        return "yes" if random.random() < SHARE else "no"

    def candidate(said: str) -> str:
        if random.random() < (back if said == "yes" else moved):
            return "no" if said == "yes" else "yes"
        return said

    for rows in range(BATCH, most + 1, BATCH):
        a = [stable() for _ in range(BATCH)]
        b, others = [candidate(said) for said in a], [stable() for _ in range(BATCH)]
        one, other, same = ([{"label": said} for said in side] for side in (others, b, a))
        paired, shift = paired.add(same, other), shift.add(one, other)
        for at, evidence in enumerate((paired.log_evidence, shift.log_evidence)):
            if until[at] is None and evidence >= NEEDED:
                until[at] = rows
    return until


def failing(seed: int, errors: float, *, stable: float = 0.0, most: int = 1000) -> int | None:
    """Return the pairs until a candidate was found that fails more than one point more, or None."""
    random = Random(seed)  # noqa: S311
    paired = Paired(0.01)
    for pairs in range(BATCH, most + 1, BATCH):
        paired = paired.add(
            [(random.random() < errors) - (random.random() < stable) for _ in range(BATCH)]
        )
        if paired.log_e >= NEEDED:
            return pairs
    return None


def line(what: str, outcomes: list[int | None]) -> str:
    """Return one row of the table."""
    hits = [outcome for outcome in outcomes if outcome is not None]
    median = f"{statistics.median(hits):,.0f}" if hits else "none"
    return f"| {what} | {len(hits) / len(outcomes):.1%} | {median} |"


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seeds = range(count)
    print(f"| of {count:,} candidates | found within {LOOKS} minutes | requests, median |")
    print("| --- | --- | --- |")
    same = [found(seed, 0.01, 0.01, stable=0.01) for seed in seeds]
    print(line("1 % fail, of the stable version's too", same))
    print(line("at the limit: 1.1 % fail, 1 % slow", [found(s, 0.011, 0.01) for s in seeds]))
    fewer = seeds[: max(count // 10, 20)]
    for share in (0.02, 0.03, 0.05, 0.1, 0.5):
        print(line(f"{share:.0%} fail", [found(seed, share, 0.01) for seed in fewer]))
    for slow in (0.02, 0.05, 0.2):
        print(line(f"{slow:.0%} slow", [found(seed, 0.001, slow) for seed in fewer]))
    print(line("labels at the limit: 40 %", [shifted(seed, 0.4) for seed in fewer]))
    for share in (0.5, 0.6, 0.9):
        print(line(f"labels {share:.0%}, not 30 %", [shifted(seed, share) for seed in fewer]))
    replays(seeds, fewer)


def replays(seeds: Sequence[int], fewer: Sequence[int]) -> None:
    """Print how pairs compare with two samples; at the limits with as many candidates as before."""
    print(
        "\n| replayed, 1,000 rows at most | pairs find | rows, median | two samples find | rows |"
    )
    print("| --- | --- | --- | --- | --- |")
    for what, moved, back, which in (
        ("the same labels", 0.0, 0.0, fewer),
        ("at the limit: 10 points more yes", MARGIN / (1 - SHARE), 0.0, seeds),
        ("at the limit, with a tenth of the yeses turned too", 0.13 / 0.7, 0.1, seeds),
        ("17 points more", 0.25, 0.0, fewer),
        ("17 points more, a tenth of the yeses turned too", 0.2 / 0.7, 0.1, fewer),
        ("28 points more", 0.4, 0.0, fewer),
    ):
        found = [both_ways(seed, moved, back) for seed in which]
        pairs, samples = ([one[at] for one in found] for at in (0, 1))
        print(f"{line(what, pairs)[:-1]}{line('', samples)[3:]}")
    print("\n| replayed, 1,000 pairs at most | found | pairs, median |")
    print("| --- | --- | --- |")
    print(line("at the limit: 1 % fail", [failing(seed, 0.01) for seed in seeds]))
    print(line("11 % fail, 10 % did", [failing(seed, 0.11, stable=0.1) for seed in seeds]))
    for errors in (0.03, 0.05, 0.1, 0.5):
        print(line(f"{errors:.0%} fail", [failing(seed, errors) for seed in fewer]))


if __name__ == "__main__":
    main()
