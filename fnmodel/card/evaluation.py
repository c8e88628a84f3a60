"""The parts of a card on how good the model is: metrics, gates, groups, parity, speed."""

from typing import Any

from fnmodel.card.facts import Data, Facts
from fnmodel.pages.markup import absent, facts, figure, folded, listed, pill, table
from fnmodel.units import milliseconds, size


def metrics(card: Facts) -> str:
    """Return figures on the sample's labels, and each gate with its interval and rule."""
    rows = [
        (one["name"], f"{one['original']:.6g}", f"{one['onnx']:.6g}")
        for one in card.parity["metrics"]
    ]
    shown = table(
        ("metric", "original", "ONNX"), rows, caption="on the sample that the project names"
    ) or absent("No metric: the sample has no labels (`target:` names their column).")
    gates = [_gate(one) for one in card.quality]
    heads = ("gate", "figure", "95 % interval", "rule", "")
    return shown + (
        table(heads, gates) or absent("No gate: `gates:` in fnmodel.yaml declares them.")
    )


def _gate(gate: Data) -> tuple[Any, ...]:
    interval = ""
    if gate.get("low") is not None:
        interval = f"{figure(gate['low'])} to {figure(gate['high'])}"
    verdict = pill("passed", "good") if gate["passed"] else pill("failed", "bad")
    if not gate.get("judged", True):
        verdict = pill("not judged")
    return gate["name"], figure(gate["value"]), interval, _rule(gate), verdict


def _rule(gate: Data) -> str:
    rule = gate["threshold"]
    words = [
        f"{side} {rule[key]:g}"
        for side, key in (("≥", "at_least"), ("≤", "at_most"))
        if rule.get(key) is not None
    ]
    champion = gate.get("champion")
    if champion:
        words.append(f"champion {champion['value']:.3g}, gain {champion['gain']:+.3g}")
    return ", ".join(words) or "reported"


def fairness(card: Facts) -> str:
    """Return the rates of each group, of each gate that compares groups."""
    if not card.fairness:
        return absent("No groups were compared: `gates.fairness` in fnmodel.yaml names them.")
    parts = [table(("gap", "figure", "95 % interval", "rule", ""), map(_gate, card.fairness))]
    for gate in card.fairness:
        rates = list(dict.fromkeys(rate for one in gate["groups"] for rate in one["rates"]))
        rows = [
            (
                one["name"],
                f"{one['rows']:,}",
                *(figure(one["rates"].get(rate)) for rate in rates),
                one["unjudged"],
            )
            for one in gate["groups"]
        ]
        heads = ("group", "rows", *(rate.replace("_", " ") for rate in rates), "")
        parts.append(folded(gate["name"], table(heads, rows), shown=True))
    return "".join(parts)


def parity(card: Facts) -> str:
    """Return how the served model's answers compare with the trained one's."""
    found = card.parity
    verdict = pill("answers as the original", "good")
    if not found["passed"]:
        verdict = pill("differs", "bad")
    tolerance = found["tolerance"]
    shown = {
        "verdict": verdict,
        "rows compared": f"{found['rows']:,}, of which {found['missing_rows']:,} with values "
        f"missing and {found['unseen_rows']:,} with unseen ones; {found['edge_rows']:,} edge rows",
        "largest difference": f"{found['max_abs']:.1e}",
        "label flips": f"{found['label_flips']}, {found['allowed_label_flips']} allowed",
        "edge flips": found["edge_flips"],
        "tolerance": f"{tolerance['absolute']:g} + {tolerance['relative']:g} of the value",
        "rows from": found["rows_from"],
    }
    return facts(shown) + listed(found["notes"])


def speed(card: Facts) -> str:
    """Return size and time, before and after conversion."""
    found = card.parity
    rows = [("file", *_change(found["size"], size))]
    rows += [
        (name, *_change(found[key], milliseconds))
        for name, key in (
            ("load", "load"), ("one row", "one_row"), ("1,000 rows", "thousand_rows"),
        )
    ]  # fmt: skip
    caption = "on the machine that converted it"
    return table(("", "original", "ONNX", "gain"), rows, caption=caption)


def _change(change: Data, words: Any) -> tuple[str, str, str]:
    before, after = change["before"], change["after"]
    return words(before), words(after), f"{before / after:,.1f} times" if after else ""
