"""A plan as a person reads it: 80 columns, no colours, the worst first."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from fnmodel.cli.saved import AccessLine, CostLine, DriftLine, Plan, ResourceLine
from fnmodel.units import size

_WIDTH = 80
_SIGNS = {"add": "+", "change": "~", "replace": "-/+", "may-replace": "-/+?", "remove": "-"}
_LONGEST = 56
_MANY = 12


def show(plan: Plan) -> str:
    """Return all that a plan says, in sections; those that are empty are left out."""
    parts = [
        _section("resources", _resources(plan)),
        _section("permissions", _permissions(plan)),
        _section("changed by hand", _drift(plan)),
        _section("push", _push(plan)),
        "\n".join([*_pairs(plan), *_pair("plan", summary(plan))]),
    ]
    return "\n\n".join(part for part in parts if part)


def summary(plan: Plan) -> str:
    """Return a plan in one line."""
    counts = [
        (sum(one.action == "add" for one in plan.changes), "to add"),
        (sum(one.action == "change" for one in plan.changes), "to change"),
        (sum("replace" in one.action for one in plan.changes), "to replace"),
        (sum(one.action == "remove" for one in plan.changes), "to remove"),
        (_widened(plan), "permissions widened"),
        (len(plan.drift), "changed by hand"),
    ]
    said = ", ".join(f"{count} {words}" for count, words in counts if count)
    return said or ("a new version" if plan.pending else "no changes")


def _widened(plan: Plan) -> int:
    # Of a stage that is new, all permissions are.
    return sum(one.kind == "widening" for one in plan.permissions) if plan.world.stack else 0


def _section(title: str, lines: Iterator[str]) -> str:
    found = list(lines)
    return "\n".join([title, *found]) if found else ""


def _resources(plan: Plan) -> Iterator[str]:
    for one in plan.changes:
        yield from _resource(one)
    if not plan.changes:
        yield "  no changes"


def _resource(one: ResourceLine) -> Iterator[str]:
    yield f"  {_SIGNS[one.action]:<4} {one.logical_id} ({one.type})"
    if one.loss:
        yield from _wrapped(f"! {one.loss}", 7)
    for edit in one.edits[:_MANY]:
        yield from _wrapped(f"{edit.path}: {_value(edit.before)} → {_value(edit.after)}", 7)
    if len(one.edits) > _MANY:
        yield f"       and {len(one.edits) - _MANY} more properties"


def _permissions(plan: Plan) -> Iterator[str]:
    if plan.world.stack is None:
        roles = {one.subject for one in plan.permissions}
        yield from _wrapped(
            f"{len(plan.permissions)} statements of {len(roles)} policies, all of them new; "
            "`--output json` has them",
            2,
        )
        return
    order = {"widening": 0, "other": 1, "narrowing": 2}
    fresh = {one.logical_id for one in plan.changes if one.action == "add"}
    # What more an old role may do is easier to overlook than a new one.
    for one in sorted(plan.permissions, key=lambda one: (order[one.kind], _base(one) in fresh)):
        yield from _access(one)


def _base(one: AccessLine) -> str:
    return one.subject.removesuffix(" (trust)")


def _access(one: AccessLine) -> Iterator[str]:
    yield f"  {one.kind.upper():<9}  {one.subject}: {one.sid or 'a statement'} ({one.state})"
    if one.kind == "other":
        yield from _wrapped("it says what it is not about; read it yourself", 13)
    verb = "denies" if one.effect == "Deny" else "allows"
    yield from _wrapped(f"{verb} {', '.join(one.actions) or 'what it does not name'}", 13)
    if any(one.resources):
        yield from _wrapped(f"on {', '.join(one.resources)}", 13)
    if one.principals != (one.subject,):
        yield from _wrapped(f"to {', '.join(one.principals)}", 13)
    if one.conditions:
        yield from _wrapped(f"if {_value(one.conditions)}", 13)


def _drift(plan: Plan) -> Iterator[str]:
    for one in plan.drift:
        yield from _wrapped(_edit(one), 2)
        yield from _wrapped(f"→ {one.deploy}", 6)
    unread = {name: why for name, why in plan.unread.items() if "no reader" not in why}
    for name, why in unread.items():
        yield from _wrapped(f"{name} could not be read: {why}", 2)


def _edit(one: DriftLine) -> str:
    match one.kind:
        case "missing":
            return f"{one.logical_id} ({one.type}) was deleted"
        case "added":
            return f"{one.logical_id}: added {one.found} ({one.path})"
        case _:
            return (
                f"{one.logical_id} {one.path}: {'ledger' if one.path == 'traffic' else 'template'} "
                f"{_value(one.expected)}, "
                f"found {_value(one.found)}"
            )


def _push(plan: Plan) -> Iterator[str]:
    for one in plan.push:
        yield f"  {size(one.size):>9}  {one.digest[7:19]}  {one.made_by}"[:_WIDTH]
    if len(plan.push) > 1:
        yield f"  {size(sum(one.size for one in plan.push)):>9}  in all"


def _pairs(plan: Plan) -> Iterator[str]:
    image, access = plan.image, plan.access
    same = image.before == image.after
    yield from _pair(
        "image",
        f"{image.after} (unchanged)" if same else f"{image.before or 'none'} → {image.after}",
    )
    opened = access.before in {None, access.after}
    yield from _pair("access", access.after if opened else f"{access.before} → {access.after}")
    yield from _pair("alias", plan.alias)
    steps = ", ".join(
        f"{one.percent:g} % for {one.bake:g} s{' once approved' if one.approve else ''}"
        for one in plan.rollout
    )
    if steps:
        yield from _pair("rollout", f"{steps}, then 100 %")
    yield from _cost(plan.cost)


def _cost(cost: CostLine) -> Iterator[str]:
    known = not any(item.amount is None and "all prices" in item.what for item in cost.items)
    if known:
        monthly = _delta(cost.monthly_before, cost.monthly_after)
        million = _delta(cost.million_before, cost.million_after)
        yield from _pair("cost", f"{monthly} a month without requests")
        yield from _pair("", f"{million} a million requests of 20 ms")
        yield from _pair("", f"an estimate by prices of {cost.region} as of {cost.prices_as_of}")
    if cost.unknown:
        yield from _pair("" if known else "cost", f"not known: {', '.join(cost.unknown)}")


def _delta(before: float | None, after: float) -> str:
    if before is None or round(before, 2) == round(after, 2):
        return f"${after:,.2f}"
    sign = "+" if after > before else "-"
    return f"${before:,.2f} → ${after:,.2f} ({sign}${abs(after - before):,.2f})"


def _pair(name: str, text: str) -> Iterator[str]:
    first, *rest = _wrapped(text, 9, hang=0)
    yield f"{name:<9}{first[9:]}"
    yield from rest


def _wrapped(text: str, indent: int, hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + hang),
        break_long_words=False, break_on_hyphens=False,
    ) or [""]  # fmt: skip


def _value(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
