"""DynamoDB tables in memory: conditions are judged, and transactions done whole or not at all."""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from fnmodel.testing.answering import RefusedError

Item = dict[str, Any]

_TERMS = re.compile(r"\s*(\(|\)|AND\b|OR\b|[^()]+?(?=\s+(?:AND|OR)\b|\)|\(|$))")
_CALL = re.compile(r"(attribute_not_exists|attribute_exists)\((\w+)\)")
_EQUAL = re.compile(r"(\w+)\s*=\s*(:\w+)")


class InMemoryTables:
    """Tables of items with the keys `pk` and `sk`, as the release ledger keeps them.

    Knows the expressions that the ledger uses: `attribute_exists`, `attribute_not_exists`, `=`,
    `AND`, `OR` and `SET`; any other is refused, so that nothing is taken for true unread.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, str], Item]] = {}
        self._tokens: dict[str, Any] = {}

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the DynamoDB API."""
        match operation:
            case "GetItem":
                item = self._table(asked).get(_key(asked["Key"]))
                return {"Item": copy.deepcopy(item)} if item is not None else {}
            case "PutItem":
                self._require(asked, asked["Item"])
                self._put(asked)
                return {}
            case "UpdateItem":
                self._require(asked, asked["Key"])
                self._update(asked)
                return {}
            case "Query":
                return self._query(asked)
            case "TransactWriteItems":
                return self._transact(asked)
            case _:
                raise NotImplementedError(f"InMemoryTables does not know {operation}")

    def _table(self, asked: Mapping[str, Any]) -> dict[tuple[str, str], Item]:
        name = asked["TableName"]
        if name not in self.tables:
            raise RefusedError("ResourceNotFoundException", f"Requested resource not found: {name}")
        return self.tables[name]

    def _holds(self, asked: Mapping[str, Any], key: Mapping[str, Any]) -> bool:
        item = self._table(asked).get(_key(key), {})
        condition = asked.get("ConditionExpression", "")
        return not condition or holds(condition, item, asked.get("ExpressionAttributeValues", {}))

    def _require(self, asked: Mapping[str, Any], key: Mapping[str, Any]) -> None:
        if not self._holds(asked, key):
            raise RefusedError("ConditionalCheckFailedException", "The conditional request failed")

    def _put(self, asked: Mapping[str, Any]) -> None:
        self._table(asked)[_key(asked["Item"])] = copy.deepcopy(dict(asked["Item"]))

    def _update(self, asked: Mapping[str, Any]) -> None:
        words = asked["UpdateExpression"]
        if not words.startswith("SET "):
            raise NotImplementedError(words)
        item = self._table(asked).setdefault(_key(asked["Key"]), dict(asked["Key"]))
        for part in words.removeprefix("SET ").split(","):
            matched = _EQUAL.fullmatch(part.strip())
            assert matched is not None, part
            item[matched[1]] = asked["ExpressionAttributeValues"][matched[2]]

    def _transact(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        token, writes = asked["ClientRequestToken"], asked["TransactItems"]
        if token in self._tokens:
            if self._tokens[token] != writes:
                raise RefusedError(
                    "IdempotentParameterMismatchException", "another request's token"
                )
            return {}
        judged = [
            self._holds(write, write.get("Item") or write["Key"])
            for one in writes
            for write in one.values()
        ]
        if not all(judged):
            codes = ["None" if good else "ConditionalCheckFailed" for good in judged]
            raise RefusedError(
                "TransactionCanceledException", f"Transaction cancelled [{', '.join(codes)}]"
            )
        for one in writes:
            for kind, write in one.items():
                (self._put if kind == "Put" else self._update)(write)
        self._tokens[token] = copy.deepcopy(writes)
        return {}

    def _query(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["KeyConditionExpression"] != "pk = :pk AND begins_with(sk, :event)":
            raise NotImplementedError(asked["KeyConditionExpression"])
        values = asked["ExpressionAttributeValues"]
        pk, start = values[":pk"]["S"], values[":event"]["S"]
        found = sorted(k for k in self._table(asked) if k[0] == pk and k[1].startswith(start))
        if not asked.get("ScanIndexForward", True):
            found.reverse()
        if "ExclusiveStartKey" in asked:
            found = found[found.index(_key(asked["ExclusiveStartKey"])) + 1 :]
        page = found[: asked.get("Limit", len(found))]
        items = [copy.deepcopy(self._table(asked)[key]) for key in page]
        answer: dict[str, Any] = {"Items": items}
        if len(page) < len(found):
            answer["LastEvaluatedKey"] = {"pk": {"S": page[-1][0]}, "sk": {"S": page[-1][1]}}
        return answer


def holds(condition: str, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a condition expression is true of an item; AND binds closer than OR."""
    judge = _Judge(_split(condition), item, values)
    truth = judge.either()
    if judge.left:
        raise NotImplementedError(condition)
    return truth


def _split(condition: str) -> list[str]:
    # A function's own brackets are part of its term.
    marked = _CALL.sub(lambda found: f"{found[1]}[{found[2]}]", condition)
    return [token.strip() for token in _TERMS.findall(marked) if token.strip()]


class _Judge:
    """Judges the tokens of a condition from left to right; `left` are those not read yet."""

    def __init__(
        self, tokens: list[str], item: Mapping[str, Any], values: Mapping[str, Any]
    ) -> None:
        self.left = tokens
        self._item, self._values = item, values

    def either(self) -> bool:
        return any(self._parts("OR", self._all))

    def _all(self) -> bool:
        return all(self._parts("AND", self._term))

    def _parts(self, word: str, part: Callable[[], bool]) -> list[bool]:
        """Read all parts between words, also those after the one that decides."""
        found = [part()]
        while self.left[:1] == [word]:
            del self.left[0]
            found.append(part())
        return found

    def _term(self) -> bool:
        first = self.left.pop(0)
        if first == "(":
            truth = self.either()
            if self.left[:1] != [")"]:
                raise NotImplementedError(" ".join([first, *self.left]))
            del self.left[0]
            return truth
        name, _, attribute = first.rstrip("]").partition("[")
        if name == "attribute_not_exists":
            return attribute not in self._item
        if name == "attribute_exists":
            return attribute in self._item
        matched = _EQUAL.fullmatch(first)
        if matched is None:
            raise NotImplementedError(first)
        return bool(self._item.get(matched[1]) == self._values[matched[2]])


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]
