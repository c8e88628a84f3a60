"""Payloads with planted secrets, and a capture that keeps its lines in memory."""

import json
import random
import string
from collections.abc import Callable, Sequence
from typing import Any

from fnmodel.capture.redact import Policy
from fnmodel.serve.capture import Capture
from fnmodel.serve.endpoint import Answer

KEY = bytes(range(32))


def memory(
    policy: Policy, names: Sequence[str] = (), points: Callable[[], float] = lambda: 0.0
) -> tuple[Capture, list[bytes], list[tuple[int, str]]]:
    """Return a capture, the lines that it wrote, and what it dropped."""
    written: list[bytes] = []
    dropped: list[tuple[int, str]] = []
    capture = Capture(
        policy, version="3", names=lambda _: names, write=written.append,
        dropped=lambda rows, reason: dropped.append((rows, reason)), point=points,
        now=lambda: 1_795_823_547.5,
    )  # fmt: skip
    return capture, written, dropped


def answered(capture: Capture, records: Any, predictions: Any, request_id: str = "r1") -> None:
    """Pass one answered request through."""
    raw = json.dumps({"records": records}).encode()
    answer = Answer.of({"predictions": predictions}, rows=len(predictions))
    capture.take(raw, answer, request_id, "live", "churn")
    capture.flush()


def _luhn(digits: str) -> str:
    total = sum(
        sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(digits[::-1])
    )
    return digits + str(-total % 10)


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices(string.digits, k=count))


def email(chance: random.Random) -> str:
    """Return an e-mail address."""
    name = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 12)))
    site = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 12)))
    more, top = chance.choice(["", ".x", "+tag", "_9", "-y"]), chance.choice(["com", "de", "co.uk"])
    return f"{name}{more}@{site}.{top}"


def card(chance: random.Random) -> str:
    """Return a card number, plain or in groups."""
    number = _luhn(chance.choice(["4", "51", "37", "6011"]) + _digits(chance, 13))[:19]
    number = _luhn("4" + _digits(chance, 14)) if chance.random() < 0.7 else number
    gap = chance.choice(["", " ", "-", "."])
    return gap.join(number[i : i + 4] for i in range(0, len(number), 4)) if gap else number


def iban(chance: random.Random) -> str:
    """Return a German or French IBAN, plain or in groups."""
    land, length = chance.choice([("DE", 18), ("FR", 23), ("NL", 14)])
    account = _digits(chance, length)
    moved = "".join(str(int(c, 36)) for c in f"{account}{land}00")
    number = f"{land}{98 - int(moved) % 97:02d}{account}"
    if chance.random() < 0.5:
        return number
    return " ".join(number[i : i + 4] for i in range(0, len(number), 4))


def phone(chance: random.Random) -> str:
    """Return a telephone number as people write it."""
    n = _digits(chance, 12).replace("0", "7").replace("1", "5")
    return chance.choice(
        [f"+49 {n[:3]} {n[3:10]}", f"+1{n[:10]}", f"({n[:3]}) {n[3:6]}-{n[6:10]}",
         f"{n[:3]}-{n[3:6]}-{n[6:10]}", f"0{n[:3]}/{n[3:10]}", f"0044 {n[:4]} {n[4:10]}"]
    )  # fmt: skip


def national_id(chance: random.Random) -> str:
    """Return a national id: of the United States, the United Kingdom, Spain or Brazil."""
    number = _digits(chance, 8)
    cpf = _digits(chance, 9)
    for length in (9, 10):
        total = sum(int(d) * w for d, w in zip(cpf, range(length + 1, 1, -1), strict=True))
        cpf += str(total * 10 % 11 % 10)
    return chance.choice(
        [f"{chance.randint(1, 665):03d}-{chance.randint(1, 99):02d}-{chance.randint(1, 9999):04d}",
         f"AB {number[:2]} {number[2:4]} {number[4:6]} C",
         f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[int(number) % 23]}",
         f"{cpf[:3]}.{cpf[3:6]}.{cpf[6:9]}-{cpf[9:]}"]
    )  # fmt: skip


def jwt(chance: random.Random) -> str:
    """Return a token of three parts."""
    letters = string.ascii_letters + string.digits + "-_"
    return "eyJ" + ".".join("".join(chance.choices(letters, k=n)) for n in (17, 40, 43))


def aws_key(chance: random.Random) -> str:
    """Return an access key's id or secret."""
    if chance.random() < 0.5:
        kind = chance.choice(["AKIA", "ASIA"])
        return kind + "".join(chance.choices(string.ascii_uppercase + string.digits, k=16))
    return "aB3" + "".join(chance.choices(string.ascii_letters + string.digits + "+/", k=37))


SECRETS = (email, card, iban, phone, national_id, jwt, aws_key)

# As a person might type them, or somebody who hides: wide letters, zero-width gaps, Cyrillic.
_WIDE = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)})
DISGUISES: tuple[Callable[[str], str], ...] = (
    lambda secret: secret,
    lambda secret: secret,
    lambda secret: secret.translate(_WIDE),
    "\u200b".join,
    lambda secret: secret.replace("a", "\u0430").replace("e", "\u0435").replace("A", "\u0410"),
)


def planted(chance: random.Random, secret: str) -> tuple[dict[str, Any], str]:
    """Return a row with a secret somewhere in it, and the text that must not be kept."""
    hidden = chance.choice(DISGUISES)(secret)
    text = chance.choice(["{}", "please call {} today", "id={};", "({})", "\n{}\t"]).format(hidden)
    row: dict[str, Any] = {"age": 42, "plan": "gold", "score": 0.5}
    match chance.randrange(5):
        case 0:
            row["note"] = text
        case 1:
            row[text] = 1
        case 2:
            row["deep"] = {"list": [1, {"more": text}]}
        case 3:
            row["deep"] = [{text: {"x": None}}]
        case _:
            row["digits"] = int(secret) if secret.isdigit() and len(secret) > 12 else text
    return row, hidden
