"""What the evidence says of each check, in words and as a verdict; pure.

A check of a rollout that replays rests on two pieces of evidence, that of callers' requests and
that of replayed ones. The mean of two e-values is one, too, whatever they have to do with each
other; it costs a factor of two.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from fnmodel.release.analysis import Evidence
from fnmodel.release.plan import Limits
from fnmodel.release.replayed import CANDIDATE, FLIPS, STABLE, Replayed
from fnmodel.sequential import Above, Increase, Share, log_mean

_NOTHING = "no requests yet"


class Verdict(StrEnum):
    """What a check, or all of them, come to.

    healthy       enough was seen, and it is within its limit
    inconclusive  too little was seen, or the figure is beyond its limit and may be chance
    failed        it is beyond its limit, at the chance of a false alarm that was asked for
    """

    healthy = "healthy"
    inconclusive = "inconclusive"
    failed = "failed"


@dataclass(frozen=True)
class Finding:
    """What one check says: its name, what came of it, a sentence, and how sure it is.

    `certainty` is the e-value by the one that is needed: at 1 the check has failed. `log_e` and
    `needed` are the logarithms of both; None where the check is no test.
    """

    check: str
    verdict: Verdict
    text: str
    certainty: float = 0.0
    log_e: float | None = None
    needed: float | None = None


def findings(evidence: Evidence, limits: Limits, samples: int) -> tuple[Finding, ...]:
    """Return what each check says; `samples` are the candidate's requests of this step."""
    replayed = evidence.replayed
    flips = replayed is not None and replayed.flips is not None
    tests = limits.tests + (flips and limits.prediction_shift is None)
    needed = -math.log(limits.false_alarms / max(tests, 1))
    found = [_enough(samples, replayed, limits.samples)]
    if limits.alarms:
        found.append(_alarms(evidence))
    if evidence.rate is not None:
        found.append(_error_rate(evidence.rate, replayed, needed))
    if evidence.increase is not None:
        found.append(_error_increase(evidence.increase, replayed, needed))
    if evidence.slow is not None:
        found.append(_latency(evidence, limits, needed))
    if limits.prediction_shift is not None or flips:
        found.append(_predictions(evidence, limits, needed))
    return tuple(found)


def verdict(found: tuple[Finding, ...]) -> Verdict:
    """Return what all checks come to: the worst of them."""
    said = {finding.verdict for finding in found}
    for worst in (Verdict.failed, Verdict.inconclusive):
        if worst in said:
            return worst
    return Verdict.healthy


def _enough(samples: int, replayed: Replayed | None, wanted: int) -> Finding:
    pairs, unlike = (replayed.pairs, replayed.unlike) if replayed is not None else (0, False)
    # Where callers are enough, it does not matter what cannot be replayed.
    enough = samples >= wanted or (samples + pairs >= wanted and not unlike)
    said = Verdict.healthy if enough else Verdict.inconclusive
    text = f"{samples:,} of the {wanted:,} that a step needs"
    if replayed is not None:
        text += _of_replay(replayed)
    return Finding("requests", said, text)


def _of_replay(replayed: Replayed) -> str:
    """Say how many were replayed, of which rows, and what it took."""
    nothing = not replayed.sent and not replayed.unusable and not replayed.exhausted
    if nothing and not replayed.broken:
        return ""
    text = f", {replayed.pairs:,} replayed"
    if replayed.proof:
        text += (
            f" ({replayed.proof:,} of them rows of the model's proof, for want of captured ones)"
        )
    if replayed.billed_ms:
        text += f" for {replayed.billed_ms / 1000:,.1f} billed seconds"
    if replayed.unusable:
        text += (
            f"; {replayed.unusable:,} captured rows cannot be: redacted, or answered otherwise "
            "than they were by the same version"
        )
    elif replayed.exhausted:
        text += "; there are no more rows to replay"
    if replayed.broken:
        text += f"; replaying broke off: {replayed.broken}"
    return text


def _alarms(evidence: Evidence) -> Finding:
    new = [name for name in evidence.alarms if name not in evidence.alarms_before]
    if new:
        return Finding("alarms", Verdict.failed, f"{', '.join(new)} rings", 1.0)
    rang = ", ".join(evidence.alarms_before)
    return Finding("alarms", Verdict.healthy, f"{rang} rang before" if rang else "none rings")


def _error_rate(above: Above, replayed: Replayed | None, needed: float) -> Finding:
    name, rate, log_e = "error rate", above.share.rate, above.log_e
    paired = replayed.rate if replayed is not None else None
    words = f"{rate:.2%} of requests failed" if rate is not None else _NOTHING
    if replayed is not None and paired is not None:
        log_e = log_mean([above.log_e, paired.log_e])
        words += _failures(replayed)
    if rate is None and not (paired and paired.pairs):
        return Finding(name, Verdict.inconclusive, words, log_e=log_e, needed=needed)
    over = (_pooled(above.share, replayed, CANDIDATE).rate or 0.0) > above.limit
    return _judge(name, log_e, needed, f"{words}, {above.limit:.2%} may", over=over)


def _error_increase(increase: Increase, replayed: Replayed | None, needed: float) -> Finding:
    name, a, b, log_e = "error increase", increase.a, increase.b, increase.log_e
    paired = replayed.increase if replayed is not None else None
    words = _NOTHING
    if b.rate is not None:
        words = f"{_percent(b)} of requests failed, {_percent(a)} of the stable version's"
    if replayed is not None and paired is not None:
        log_e = log_mean([increase.log_e, paired.log_e])
        words += _failures(replayed)
    if b.rate is None and not (paired and paired.pairs):
        return Finding(name, Verdict.inconclusive, words, log_e=log_e, needed=needed)
    before, after = _pooled(a, replayed, STABLE), _pooled(b, replayed, CANDIDATE)
    over = (after.rate or 0.0) > (before.rate or 0.0) + increase.margin
    text = f"{words}; {increase.margin:.2%} more may"
    return _judge(name, log_e, needed, text, over=over)


def _failures(replayed: Replayed) -> str:
    if not replayed.sent:
        return ""
    stable, candidate = replayed.failed
    text = f"; of {replayed.sent:,} replayed it failed {candidate:,}, the stable version {stable:,}"
    return text + _named(replayed) if candidate else text


def _named(replayed: Replayed) -> str:
    return f" (request {', '.join(replayed.differing)})" if replayed.differing else ""


def _pooled(share: Share, replayed: Replayed | None, side: int) -> Share:
    """Return failures of callers' and replayed requests: of few callers one must not hold it up."""
    if replayed is None:
        return share
    return share + Share(replayed.failed[side], replayed.sent)


def _latency(evidence: Evidence, limits: Limits, needed: float) -> Finding:
    assert evidence.slow is not None
    name, ratio = "latency", limits.latency_ratio or 0.0
    a, b, log_e = evidence.slow.a, evidence.slow.b, evidence.slow.log_e
    few = evidence.slow_ms is None or b.trials < limits.samples
    words = []
    if evidence.slow_ms is None:
        words.append("the stable version's is not known yet")
    elif b.rate is None:
        words.append("no warm requests yet")
    else:
        words.append(
            f"{_percent(b)} take over {ratio:g} times {evidence.slow_ms:.3g} ms; "
            f"{_percent(a)} of the stable version's take over {evidence.slow_ms:.3g} ms"
        )
    over = not few and b.rate is not None and b.rate > (a.rate or 0.0) and b.hits > 1
    slower = evidence.replayed.slower if evidence.replayed is not None else None
    if slower is not None:
        log_e = log_mean([log_e, slower.log_e])
        warm = slower.share
        # The first of each process are cold, and cannot be compared.
        few = few and warm.trials < limits.samples / 2
        over = over or (warm.rate or 0.0) > slower.limit
        if warm.trials:
            words.append(
                f"{warm.hits:,} of {warm.trials:,} replayed took over {ratio:g} times as long as "
                "the stable version took for the same"
            )
    return _judge(name, log_e, needed, "; ".join(words), over=few or over)


def _predictions(evidence: Evidence, limits: Limits, needed: float) -> Finding:
    name, words, replayed = "predictions", list[str](), evidence.replayed
    log_es, few, over, unread = list[float](), True, False, evidence.unread
    if evidence.shift is not None and not evidence.unread:
        rows_a, rows_b = evidence.shift.samples
        column, moved = evidence.shift.farthest
        few = min(rows_a, rows_b) < limits.samples
        over = not few and moved > evidence.shift.margin
        text = f"{rows_b:,} captured rows, {rows_a:,} of the stable version's"
        if rows_a and rows_b:
            text += f"; {column} has moved by {moved:.1%}, {evidence.shift.margin:.1%} may"
        words.append(text)
        log_es.append(evidence.shift.log_evidence)
    if replayed is not None:
        paired = _of_pairs(replayed, limits)
        unread = unread or replayed.unread
        if paired is not None:
            log_e, enough, beyond, text = paired
            few, over = few and not enough, over or beyond
            log_es.append(log_e)
            words.append(text)
    if not log_es:
        why = f"they cannot be compared: {unread}" if unread else ""
        why = why or "the model has no bins to compare them by"
        return Finding(name, Verdict.inconclusive, why)
    return _judge(name, log_mean(log_es), needed, "; ".join(words), over=few or over)


def _of_pairs(replayed: Replayed, limits: Limits) -> tuple[float, bool, bool, str] | None:
    """Return the evidence of pairs, whether it is enough, and beyond its limit, and in words."""
    if replayed.flips is not None:
        apart, flips = replayed.flips.share, replayed.flips
        text = (
            f"{apart.hits:,} of {apart.trials:,} replayed rows are answered beyond the tolerance "
            f"of the model, which is the same; {FLIPS:.0%} may{_named(replayed)}"
        )
        enough = apart.trials >= limits.samples
        return flips.log_e, enough, (apart.rate or 0.0) > flips.limit, text
    if replayed.shift is None or replayed.unread:
        return None
    shift = replayed.shift
    column, moved = shift.farthest
    text = f"{shift.pairs:,} replayed rows"
    if shift.pairs:
        text += f": {column} moves by {moved:.1%} on the same rows, {shift.margin:.1%} may"
        if moved > shift.margin:
            text += _named(replayed)
    return shift.log_evidence, shift.pairs >= limits.samples, moved > shift.margin, text


def _judge(check: str, log_e: float, needed: float, text: str, *, over: bool) -> Finding:
    certainty = math.exp(min(log_e - needed, 0.0))
    said = Verdict.inconclusive if over else Verdict.healthy
    if log_e >= needed:
        certainty, said = 1.0, Verdict.failed
    return Finding(check, said, text, certainty, log_e, needed)


def _percent(share: Share) -> str:
    return "none" if share.rate is None else f"{share.rate:.2%}"
