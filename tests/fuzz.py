"""Requests by the thousand: from the service's own OpenAPI document, and events gone wrong.

    python tests/fuzz.py [--requests 10000] [--events 100000] [--seed 7]

No answer may be a 5xx, no exception may leave the handler, and each answer must be one that the
document lists for its path, in the form that it lists. `make fuzz` runs all; tests run a slice.
Prints JSON; exit code 1 where something was found, with its first examples.
"""

import argparse
import base64
import copy
import json
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from serve_cases import event, model

from fnmodel.serve.app import create_app
from fnmodel.serve.direct import Direct
from fnmodel.serve.gateway import Gateway
from fnmodel.serve.models import Models
from fnmodel.serve.service import Service

MODELS = ("classifier", "mixed", "regressor", "tensors")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 122.0, 1e38, 1e39, 2**63, 2**64, -(2**63), 10**400, "", "x",
    "é漢🙂", "\x00", "NaN", [], [[]], {}, [1, 2], {"name": "X"}, "X", "FP32", [1, 3], [2**62, 4],
)  # fmt: skip


def handler(name: str) -> Direct:
    """Return the Lambda handler of one of the models, without its report."""
    models = Models((Service(model(name), "churn", "3"),))
    return Direct(
        models,
        report=lambda _: None,
        clock=time.perf_counter,
        others=lambda: Gateway(create_app(models)),
    )


def resolved(document: Mapping[str, Any], value: Any) -> Any:
    """Return what a reference stands for; what is none is itself."""
    while "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        value = found
    return value


class Document:
    """A service's OpenAPI document: a maker of requests, and a judge of answers."""

    def __init__(self, answer: Mapping[str, Any], chance: random.Random) -> None:
        self._document = json.loads(answer["body"])
        self._chance = chance
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
            for _ in range(4 if "requestBody" in operation else 1)
        ]
        self._judges: dict[tuple[str, str], Draft202012Validator] = {}

    def request(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Return an event, as its schema has it or with a flaw or two, and its operation."""
        method, path, operation = self._chance.choice(self._operations)
        body = None
        if "requestBody" in operation:
            body = self._value(operation["requestBody"]["content"]["application/json"]["schema"])
            for _ in range(self._chance.choice((0, 0, 1, 1, 2))):
                body = spoiled(body, self._chance)
            body = json.dumps(body)
        return event(method=method, path=path, body=body), operation

    def violation(self, operation: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """Say what an answer has that the document does not allow; nothing where all is well."""
        status = str(answer["statusCode"])
        if status not in operation["responses"]:
            return f"{status} is not in the document"
        content_of = resolved(self._document, operation["responses"][status])["content"]
        kind = answer.get("headers", {}).get("content-type", "application/json")
        if kind not in content_of:
            return f"{kind} is not in the document for {status}"
        if answer.get("isBase64Encoded"):  # binary tensors behind their JSON
            head = int(answer["headers"]["inference-header-content-length"])
            told = json.loads(base64.b64decode(answer["body"])[:head])
            return "" if told["outputs"] else "no outputs"
        if not kind.startswith("application/json"):
            return "" if isinstance(answer["body"], str) else "no text"
        key = operation["operationId"], status
        if key not in self._judges:
            content = content_of["application/json"]
            components = {"components": self._document["components"]}
            self._judges[key] = Draft202012Validator({**components, **content["schema"]})
        problem = next(self._judges[key].iter_errors(json.loads(answer["body"])), None)
        return problem.message[:300] if problem else ""

    def _value(self, schema: Mapping[str, Any]) -> Any:
        chance = self._chance
        match schema:
            case {"$ref": _}:
                return self._value(resolved(self._document, schema))
            case {"const": value}:
                return value
            case {"enum": values}:
                return chance.choice(values)
            case {"oneOf": choices} | {"anyOf": choices}:
                return self._value(chance.choice(choices))
            case {"type": list(types)}:
                return self._value({**schema, "type": chance.choice(types)})
            case {"type": "object"}:
                needed = schema.get("required", ())
                return {
                    name: self._value(inner)
                    for name, inner in schema.get("properties", {}).items()
                    if name in needed or chance.random() < 0.5
                }
            case {"type": "array"}:
                return self._items(schema)
        return self._leaf(schema)

    def _leaf(self, schema: Mapping[str, Any]) -> Any:
        chance = self._chance
        match schema:
            case {"type": "string"}:
                letters = chance.choice((string.ascii_letters, string.printable, "é漢🙂 "))
                return "".join(chance.choices(letters, k=chance.randrange(12)))
            case {"type": "integer"}:
                low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31)
                value = chance.choice((low, high, chance.randint(int(low), int(high)), 1, 2))
                return chance.choice((value, float(value)))
            case {"type": "number"}:
                return chance.choice((0, -0.0, 1.5, -3, 1e30, 122.0, chance.gauss(0, 100)))
            case {"type": "boolean"}:
                return chance.random() < 0.5
            case {"type": "null"}:
                return None
        return chance.choice(ODD)

    def _items(self, schema: Mapping[str, Any]) -> list[Any]:
        first = [self._value(inner) for inner in schema.get("prefixItems", ())]
        least, most = schema.get("minItems", 0), schema.get("maxItems", 4)
        count = self._chance.randint(max(least - len(first), 0), max(most - len(first), 0))
        inner = schema.get("items", {"type": ["number", "number", "null", "string", "boolean"]})
        return [*first, *(self._value(inner) for _ in range(count))]


def spoiled(value: Any, chance: random.Random) -> Any:
    """Return a copy of a value of JSON with something in it replaced, dropped, or repeated."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return chance.choice(ODD)
    holder, key = chance.choice(places)
    match chance.randrange(4):
        case 0 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case 0:
            holder[chance.choice(("x", "", "name", "data", "é"))] = copy.deepcopy(holder[key])
        case 1:
            del holder[key]
        case _:
            holder[key] = chance.choice(ODD)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def schema_driven(count: int, seed: int) -> dict[str, Any]:
    """Send requests that the documents allow, and nearly allow; return what came back."""
    chance = random.Random(seed)
    called = {name: handler(name) for name in MODELS}
    asked = event(method="GET", path="/openapi.json")
    documents = {name: Document(one(asked, None), chance) for name, one in called.items()}
    statuses: Counter[int] = Counter()
    found: list[dict[str, Any]] = []
    for number in range(count):
        name = MODELS[number % len(MODELS)]
        sent, operation = documents[name].request()
        answer = called[name](sent, None)
        statuses[answer["statusCode"]] += 1
        wrong = documents[name].violation(operation, answer)
        if wrong or answer["statusCode"] >= 500:
            found.append({"model": name, "body": sent.get("body"), "wrong": wrong, **answer})
    return {"requests": count, "statuses": dict(sorted(statuses.items())), "found": found[:5]}


def events_gone_wrong(count: int, seed: int) -> dict[str, Any]:
    """Send events of API Gateway with flaws, in their text or in what they hold."""
    chance = random.Random(seed)
    one = handler("classifier")
    good = [event(name) for name in ("predict", "infer", "ready")]
    statuses: Counter[int] = Counter()
    found: list[dict[str, Any]] = []
    while sum(statuses.values()) < count:
        sent = chance.choice(good)
        for _ in range(chance.randint(1, 3)):
            sent = spoiled(sent, chance)
        if chance.random() < 0.3 and isinstance(sent.get("body"), str):
            at = chance.randrange(len(sent["body"]) + 1)
            odd = chance.choice(("\ud800", "\x00", "[", "NaN", '"', "1e999"))
            sent["body"] = sent["body"][:at] + odd + sent["body"][at + chance.randrange(3) :]
        if not isinstance(sent, dict):
            continue
        try:
            answer = one(sent, None)
            status, text = answer["statusCode"], answer["body"]
            json.loads(text)
        except Exception as error:  # whatever it is, it is what is looked for
            status, text = 599, repr(error)
        statuses[status] += 1
        if status >= 500:
            found.append({"event": repr(sent)[:2000], "status": status, "answer": text})
    return {"events": count, "statuses": dict(sorted(statuses.items())), "found": found[:5]}


def main() -> int:
    """Run both and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    results = [
        schema_driven(options.requests, options.seed),
        events_gone_wrong(options.events, options.seed),
    ]
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return int(any(result["found"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
