"""What is kept of a row: no planted secret, no dropped field, and numbers as they were."""

import json
import random
import unicodedata
from typing import Any

import pytest
from capture_cases import KEY, SECRETS, answered, memory, planted

from fnmodel.capture.patterns import scrub
from fnmodel.capture.redact import LONGEST, Policy, hashed


def _plain(text: str) -> str:
    seen = unicodedata.normalize("NFKC", text).translate(str.maketrans("\u0430\u0435\u0410", "aeA"))
    return "".join(c for c in seen if unicodedata.category(c) != "Cf")


def test_no_planted_secret_is_kept() -> None:
    """Of 10,000 rows with a secret in a value, a name or deep inside, none keeps it in any form."""
    chance = random.Random(7)
    capture, written, dropped = memory(Policy(rate=1))
    found = []
    for number in range(10_000):
        secret = SECRETS[number % len(SECRETS)](chance)
        row, hidden = planted(chance, secret)
        written.clear()
        answered(capture, [row], [{"label": "yes", "echo": hidden}])
        [line] = written
        for text in (line.decode(), json.dumps(json.loads(line), ensure_ascii=False)):
            held = _plain(text)
            if hidden in text or secret in held or _plain(hidden) in held:
                found.append((secret, row))

    assert found == []
    assert dropped == []


@pytest.mark.parametrize(
    "text",
    [
        "gold", "month-to-month", "2026-11-27T23:00:11Z", "10.0.0.1", "3.14159265358979", "1e-05",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709", "4111111111111112", "order 1234567890123",
        "v1.2.3", "Größe 42", "模型 7", "1,234,567.89", "550e8400-e29b-41d4-a716-446655440000",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    """Categories, times, hashes, and numbers whose check digits do not fit are kept as they are."""
    assert scrub(text) == text


def test_words_around_a_secret_stay() -> None:
    """Each secret is replaced by its kind."""
    text = "write to jane@example.com or pay 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00 soon"

    assert scrub(text) == "write to <email> or pay <card>, <iban> soon"


def test_numbers_stay_numbers() -> None:
    """Only a whole number that is a card or an id becomes text."""
    row = {"a": 1, "b": 2.5, "c": 1e300, "d": -7, "e": True, "f": None, "g": 4111111111111111}

    assert Policy().redact(row) == {**row, "g": "<card>"}


def test_fields_are_dropped_hashed_and_spared_wherever_they_stand() -> None:
    """A treatment is by name, at any depth; a hash is the same for 42, 42.0 and "42"."""
    policy = Policy(fields={"name": "drop", "who": "hash", "mail": "keep"}, key=KEY)
    row = {"name": "J", "who": 42, "mail": "a@b.com", "deep": [{"name": 1, "who": "42"}]}

    digest = hashed(KEY, 42.0)
    assert policy.redact(row) == {"who": digest, "mail": "a@b.com", "deep": [{"who": digest}]}
    assert digest != hashed(bytes(32), 42)


def test_the_subject_is_never_kept_as_it_is() -> None:
    """The field that names the subject is hashed, though nothing says so."""
    policy = Policy(subject="customer", key=KEY)

    assert policy.redact({"customer": "c1"}) == {"customer": hashed(KEY, "c1")}
    assert policy.subject_of({"customer": "c1"}) == hashed(KEY, "c1")
    assert policy.subject_of({}) is policy.subject_of([1]) is None


def test_text_that_is_too_long_to_be_searched_is_left_out() -> None:
    """Nothing is kept unseen."""
    assert Policy().redact("x" * (LONGEST + 1)) == "<16385 characters>"


def test_patterns_may_be_off() -> None:
    """Then only fields are treated."""
    assert Policy(patterns=False).redact({"a@b.com": "a@b.com"}) == {"a@b.com": "a@b.com"}


@pytest.mark.parametrize(
    ("variables", "policy"),
    [
        ({}, None),
        ({"FNMODEL_CAPTURE": '{"rate": 0}'}, None),
        ({"FNMODEL_CAPTURE": '{"rate": 0.5}'}, Policy(rate=0.5)),
    ],
)
def test_the_policy_is_read_from_the_environment(variables: Any, policy: Any) -> None:
    """Without a rate nothing is captured."""
    assert Policy.of(variables) == policy


@pytest.mark.parametrize(
    "variables",
    [
        {"FNMODEL_CAPTURE": "{"},
        {"FNMODEL_CAPTURE": '{"rate": 1, "subject": "x"}'},
        {"FNMODEL_CAPTURE": '{"rate": 1, "subject": "x"}', "FNMODEL_CAPTURE_KEY": "00"},
    ],
)
def test_hashes_without_a_secret_are_refused(variables: Any) -> None:
    """A hash whose key anybody could guess hides nothing."""
    with pytest.raises(ValueError, match=r"FNMODEL_CAPTURE|Expecting"):
        Policy.of(variables)


def test_hostile_text_costs_no_time() -> None:
    """The longest text that is searched takes well under a second, whatever it holds."""
    import time

    for piece in ("1 ", "4", "a@", "a.", "eyJ", "A1", "DE89", "0 1-", "%40", "+4", "aA0/"):
        text = (piece * LONGEST)[:LONGEST]
        began = time.process_time()
        scrub(text)
        assert time.process_time() - began < 2, piece
