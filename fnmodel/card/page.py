"""The card as one HTML page, in the frame that all pages have.

Its sections are those of Mitchell et al., Model Cards for Model Reporting (2019),
arXiv:1810.03993, and after them what a release has beside: image, history, how it is called.
"""

from typing import Any

from fnmodel.card import data, evaluation, release
from fnmodel.card.facts import Facts
from fnmodel.pages import frame
from fnmodel.pages.markup import (
    absent,
    facts,
    figures,
    listed,
    moment,
    note,
    pill,
    section,
    text,
)
from fnmodel.units import milliseconds, size


def render(card: Facts) -> str:
    """Return the page."""
    body = [
        _figures(card),
        section("Model details", _details(card)),
        section("Intended use", _use(card)),
        section("Training data", data.training(card)),
        section("Inputs and outputs", data.signature(card)),
        section("Metrics and gates", evaluation.metrics(card)),
        section("Fairness by group", evaluation.fairness(card)),
        section("Parity with the original", evaluation.parity(card)),
        section("Speed and size", evaluation.speed(card)),
        section("Limits", _limits(card)),
        section("Ethical considerations", _words(card, "ethical_considerations")),
        section("Drift", release.drift(card)),
        section("Image", release.image(card)),
        section("Release history of this image", release.history(card)),
        section("How to call it", release.usage(card)),
    ]
    state, kind = _state(card)
    header = f"<h1>{text(card.name)} {pill(state, kind)}</h1>"
    header += note(card.said.get("overview", "") or "")
    header += note(f"Model card of {card.digest}, made {moment(card.made)} UTC.")
    return frame.page(f"Model card of {card.name}", header, body, searched=data.searched(card))


def _state(card: Facts) -> tuple[str, str]:
    failed = [gate for gate in card.parity["gates"] if not gate["passed"]]
    if not card.parity["passed"] or failed:
        return "a gate failed", "bad"
    return (card.traffic, "good") if card.traffic else ("not released", "")


def _figures(card: Facts) -> str:
    parity = card.parity
    shown = [
        ("task", card.signature.task),
        ("features", str(len(card.signature.asked)) if card.signature.asked else "tensors"),
        ("model", size(card.size)),
        ("one row", milliseconds(parity["one_row"]["after"])),
        *((one["name"], f"{one['onnx']:.3g}") for one in parity["metrics"][:2]),
    ]
    return figures(shown)


def _details(card: Facts) -> str:
    parity, said = card.parity, card.said
    shown: dict[str, Any] = {
        "made with": f"{parity['framework']} {parity['version']}, from {parity['source']}",
        "served as": f"ONNX opset {parity['opset']}, {parity['how']}",
        "digest of the model": card.digest,
        "digest of the trained file": f"sha256:{parity['sha256']}",
        "converted with": ", ".join(f"{name} {v}" for name, v in parity["versions"].items()),
        "converted in": ", ".join(parity["isolation"]),
        "owners": ", ".join(said.get("owners", ())) or absent("not said: `card.owners`"),
        "licence": said.get("license") or absent("not said: `card.license`"),
    }
    return facts(shown) + listed(said.get("references", ()))


def _use(card: Facts) -> str:
    parts = [
        ("Uses", "use_cases"), ("Users", "users"), ("Out of scope", "out_of_scope"),
    ]  # fmt: skip
    return "".join(f"<h3>{name}</h3>{_words(card, key)}" for name, key in parts)


def _words(card: Facts, key: str) -> str:
    return listed(card.said.get(key, ())) or absent(f"Not said: `card.{key}` in fnmodel.yaml.")


def _limits(card: Facts) -> str:
    limits = card.limits
    shown = {
        "a request": f"{size(limits.body_bytes)} of body and of answer, "
        f"{min(limits.timeout, limits.request_seconds)} s",
        "memory": f"{limits.memory:,} MB",
        "timeout of a job": f"{limits.timeout} s",
    }
    return (
        facts(shown)
        + _words(card, "limitations")
        + note(
            "What lies outside of training's ranges (above) is answered, and nobody knows how well."
        )
    )
