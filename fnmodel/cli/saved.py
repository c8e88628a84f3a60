"""A plan as a file: what it says, written and read back, and whether it still is of this world."""

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fnmodel.errors import PlanError

FORMAT: Literal["fnmodel.plan/1"] = "fnmodel.plan/1"


class Part(BaseModel):
    """A part of a plan: an unknown key is an error, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EditLine(Part):
    """One property that differs; null is absent."""

    path: str
    before: Any = None
    after: Any = None


class ResourceLine(Part):
    """One resource that would change; `replacement` is CloudFormation's own word."""

    action: Literal["add", "change", "replace", "may-replace", "remove"]
    logical_id: str
    type: str
    replacement: str
    edits: tuple[EditLine, ...] = ()
    loss: str = ""


class AccessLine(Part):
    """One statement that would say more or less than now; only the part that changes."""

    kind: Literal["widening", "narrowing", "other"]
    subject: str
    sid: str
    state: Literal["new", "grown", "gone", "shrunk"]
    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Any = None


class DriftLine(Part):
    """One hand edit: what the template has, what was found, and what deploy does about it."""

    logical_id: str
    type: str
    kind: Literal["changed", "missing", "added"]
    path: str
    expected: Any = None
    found: Any = None
    deploy: str


class CostItem(Part):
    """One line of a bill in dollars; null where the price is not known."""

    what: str
    amount: float | None


class CostLine(Part):
    """A month without requests and a million requests; `before` is null for a new stage."""

    region: str
    currency: Literal["USD"] = "USD"
    prices_as_of: str
    sources: tuple[str, ...]
    monthly_before: float | None
    monthly_after: float
    million_before: float | None
    million_after: float
    items: tuple[CostItem, ...]
    unknown: tuple[str, ...]


class Blob(Part):
    """A blob that would be pushed; `made_by` is the layer's line of history."""

    digest: str
    size: int
    made_by: str


class Before(Part):
    """Two values: as it is, as it would be."""

    before: str | None
    after: str


class StepLine(Part):
    """One step of a rollout: percent of the requests, seconds, and whether a person must agree."""

    percent: float
    bake: float
    approve: bool


class World(Part):
    """What the plan was made of. All of it must still be so when the plan is applied.

    Texts that are long, or could hold secrets, are SHA-256. `stack` is CloudFormation's id, `live`
    the stable version, `function` the image and settings of `$LATEST`, `ledger` the end of its
    chain with the number of its entries.
    """

    project: str
    stage: str
    cloud: Literal["aws", "local"]
    account: str
    region: str
    configuration: str
    template: str
    parameters: str
    image: str
    stack: str | None = None
    stack_status: str | None = None
    stack_updated: str | None = None
    live: str | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    alias_revision: str | None = None
    function: str | None = None
    entries: int = 0
    ledger: str | None = None


class Plan(Part):
    """What `deploy` would do, of which world, in a form that is stable within its `format`."""

    format: Literal["fnmodel.plan/1"] = FORMAT
    fnmodel: str
    created: str
    pending: bool
    world: World
    image: Before
    push: tuple[Blob, ...]
    changes: tuple[ResourceLine, ...]
    permissions: tuple[AccessLine, ...]
    cost: CostLine
    access: Before
    alias: str
    rollout: tuple[StepLine, ...]
    drift: tuple[DriftLine, ...]
    unread: dict[str, str]

    @property
    def id(self) -> str:
        """SHA-256 of all that the plan says."""
        return hashlib.sha256(_bytes(self.model_dump(mode="json"))).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with the plan's id."""
        return {"id": self.id, **self.model_dump(mode="json")}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a saved plan, which `plan --output json` prints too."""
    schema = Plan.model_json_schema(mode="serialization")
    schema["properties"]["id"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    schema["required"] = ["id", *schema["required"]]
    return schema


def save(plan: Plan, path: Path) -> None:
    """Write a plan for a person and for `load`.

    Raises:
        PlanError: the file cannot be written.

    """
    try:
        path.write_text(json.dumps(plan.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from error


def load(path: Path) -> Plan:
    """Read a saved plan.

    Raises:
        PlanError: it is none, was changed since it was saved, or is of another version of fnmodel.

    """
    again = "save it anew: `fnmodel plan --out FILE`"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}", hint=again) from error
    except ValueError as error:
        raise PlanError(f"{path} is no saved plan: it is not JSON", hint=again) from error
    if not isinstance(data, dict) or not str(data.get("format", "")).startswith("fnmodel.plan/"):
        raise PlanError(f"{path} is no saved plan", hint=again)
    ours = version("fnmodel")
    if (data["format"], data.get("fnmodel")) != (FORMAT, ours):
        raise PlanError(
            f"{path} was saved by fnmodel {data.get('fnmodel')}; this is {ours}",
            hint=f"apply it with fnmodel {data.get('fnmodel')}, or {again}",
        )
    stated = data.pop("id", None)
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PlanError(f"{path} is no saved plan: {where}: {first['msg']}", hint=again) from error
    if stated != plan.id:
        raise PlanError(f"{path} was changed after it was saved", hint=again)
    return plan


_WORDS = {
    "project": "project",
    "stage": "stage",
    "cloud": "cloud",
    "account": "account",
    "region": "region",
    "configuration": "fnmodel.yaml",
    "template": "template",
    "parameters": "parameters of the stack",
    "image": "image",
    "stack": "stack",
    "stack_status": "the stack's status",
    "stack_updated": "the stack's last change",
    "live": "live version",
    "weights": "weights of the alias",
    "alias_revision": "revision of the alias",
    "function": "image and settings of $LATEST",
    "entries": "entries of the ledger",
    "ledger": "end of the ledger",
}


def moved(then: World, now: World) -> Iterator[str]:
    """Yield what is not as it was, in words."""
    for name, words in _WORDS.items():
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            yield f"{words}: was {_short(before)}, is {_short(after)}"


def sha256(value: Any) -> str:
    """Return the SHA-256 of plain data, in hex."""
    return hashlib.sha256(_bytes(value)).hexdigest()


def _bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def _short(value: Any) -> str:
    if value in (None, {}, ""):
        return "none"
    text = str(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return text[:12]
    return text[:19] if text.startswith("sha256:") else text
