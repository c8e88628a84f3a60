"""Text in, the places in it that look like somebody's secrets out: addresses, numbers, keys.

A number with check digits is taken for what it is only where these fit, so that amounts and order
numbers stay. What is written in other letters and digits than ASCII's is compared as it looks.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator

Span = tuple[int, int, str]
"""Start, end, and the kind that stands in the place of what was found."""

_WORTH = re.compile(r"[@0-9]|eyJ|A(?:KI|SI|BI|CC|GP|ID|RO)A").search
"""Text without any of these holds nothing that is looked for."""

# Letters that look like those of ASCII, from Cyrillic and Greek.
_ALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеіјорсухѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",  # noqa: RUF001 - which is what it is about
    "ABESIJKMHOPCTYXaeijopcyxsABEZHIKMNOPTYXo",
)


def scrub(text: str) -> str:
    """Return the text with `<kind>` in the place of each secret; without one, the same text."""
    if text.isascii():
        plain = seen = text
    else:
        plain, seen = _as_seen(text)
    if not _WORTH(seen):
        return text
    found = sorted(_spans(seen))
    if not found:
        return text
    parts: list[str] = []
    end = 0
    for start, stop, kind in found:
        if start >= end:
            parts += (plain[end:start], f"<{kind}>")
        elif stop > end:
            parts.append(f"<{kind}>")
        end = max(end, stop)
    return "".join([*parts, plain[end:]])


def _as_seen(text: str) -> tuple[str, str]:
    """Return the text in its plain form, and what a reader takes it for, character by character."""
    plain = "".join(
        character
        for character in unicodedata.normalize("NFKC", text)
        if unicodedata.category(character) not in ("Cf", "Mn")  # neither seen nor printed alone
    )
    return plain, "".join(map(_look, plain.translate(_ALIKE)))


def _look(character: str) -> str:
    if character.isascii():
        return character
    match unicodedata.category(character):
        case "Nd":
            return str(unicodedata.decimal(character))
        case "Pd":
            return "-"
        case "Zs":
            return " "
        case _:
            return character


def _spans(text: str) -> Iterator[Span]:
    for kind, pattern in _PLAIN:
        for found in pattern.finditer(text):
            yield found.start(), found.end(), kind
    for kind, pattern, judge in _JUDGED:
        for found in pattern.finditer(text):
            if judge(re.sub(r"[^0-9A-Za-z]", "", found[0]).upper()):
                yield found.start(), found.end(), kind
    for run in _DIGITS.finditer(text):
        yield from _card(run.start(), run[0])
    for found in _IBAN.finditer(text):
        yield from _iban(found.start(), found[0])


_MIXED = r"(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*[0-9])"

_PLAIN = [
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("email", r"[\w.%+'/=~-]{1,64}(?:@|%40)(?:[\w-]{1,63}\.){1,8}[^\W_]{2,63}"),
        ("jwt", r"eyJ[\w-]{4,1000}\.[\w-]{4,}(?:\.[\w-]*)?"),
        ("aws-key", r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[A-Z0-9]{16}(?![A-Z0-9])"),
        # 40 characters of Base64 with large, small and digits; a SHA-1 in hex has no large ones.
        ("aws-key", r"(?<![\w/+])" + _MIXED + r"[A-Za-z0-9/+]{40}(?![\w/+=])"),
        # International: + or 00; national: a leading 0 with a gap, and 3-3-4 as in North America.
        ("phone", r"(?<![\w+])(?:\+|00)[1-9](?:[ ().\/-]{0,2}\d){6,14}(?!\d)"),
        ("phone", r"(?<![\w.+-])\(?0[1-9]\d{1,4}\)?[ \/-]\d(?:[ -]?\d){4,9}(?![\d-])"),
        ("phone", r"(?<![\w.+-])(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{1,2}[2-9]\d\d[ .-]\d{4}(?![\d-])"),
        # United States, United Kingdom, Italy, Sweden.
        ("national-id", r"(?<![\d-])(?!000|666|9)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\d-])"),
        ("national-id", r"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?\d\d){3} ?[A-D]\b"),
        ("national-id", r"(?i)\b[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]\b"),
        ("national-id", r"(?<![\d-])(?:19|20)?\d\d[01]\d[0-7]\d[-+]\d{4}(?![\d-])"),
    )
]  # fmt: skip


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _spain(text: str) -> bool:
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def _france(text: str) -> bool:
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


def _poland(digits: str) -> bool:
    sum_ = _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return sum_ % 10 == 0 and 1 <= int(digits[2:4]) % 20 <= 12 and 1 <= int(digits[4:6]) <= 31


def _germany(digits: str) -> bool:
    product = 10
    for digit in digits[:10]:
        product = (((int(digit) + product) % 10 or 10) * 2) % 11
    # One digit is there twice or three times, the others once at most.
    repeated = [digits[:10].count(d) for d in set(digits[:10])]
    return (11 - product) % 10 == int(digits[10]) and max(repeated) in (2, 3)


def _brazil(digits: str) -> bool:
    def check(length: int) -> int:
        return (_weighted(digits, tuple(range(length + 1, 1, -1))) * 10) % 11 % 10

    return [check(9), check(10)] == [int(digits[9]), int(digits[10])] and len(set(digits)) > 1


def _china(text: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[_weighted(text[:17], weights) % 11] == text[17]


_JUDGED: list[tuple[str, re.Pattern[str], Callable[[str], bool]]] = [
    ("national-id", re.compile(pattern), judge)
    for pattern, judge in (
        (r"(?i)\b(?:\d{8}|[XYZ]\d{7})[ -]?[A-Z]\b", _spain),
        (r"(?i)\b[12] ?\d\d ?[01]\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d\b", _france),
        (r"\b\d{11}\b", _poland),
        (r"\b[1-9]\d ?\d{3} ?\d{3} ?\d{3}\b", _germany),
        (r"\b\d{3}\.?\d{3}\.?\d{3}-?\d\d\b", _brazil),
        (r"(?i)\b[1-9]\d{5}(?:18|19|20)\d\d[01]\d[0-3]\d{4}[0-9X]\b", _china),
    )
]  # fmt: skip

_DIGITS = re.compile(r"\d(?:[ .-]{0,2}\d){12,}")


def _card(offset: int, run: str) -> Iterator[Span]:
    """Find card numbers that begin and end with a group of a run of groups of digits."""
    groups = list(re.finditer(r"\d+", run))
    for first, group in enumerate(groups):
        digits = ""
        for last in groups[first:]:
            digits += last[0]
            if len(digits) > 19:
                break
            if len(digits) >= 13 and digits[0] in "23456" and _luhn(digits):
                yield offset + group.start(), offset + last.end(), "card"


_IBAN = re.compile(r"(?i)(?<![A-Z0-9])[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]){11,30}")


def _iban(offset: int, text: str) -> Iterator[Span]:
    """Find the longest beginning that is an IBAN: words may follow it."""
    places = [i for i, character in enumerate(text) if character.isalnum()]
    plain = "".join(text[i] for i in places).upper()
    for length in range(len(plain), 14, -1):
        turned = plain[4:length] + plain[:4]
        if int("".join(str(int(c, 36)) for c in turned)) % 97 == 1:
            yield offset, offset + places[length - 1] + 1, "iban"
            return
