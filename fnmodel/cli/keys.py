"""`fnmodel keys`: who may call a stage that asks for API keys."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.apikey import SCOPES
from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import UsageError

if TYPE_CHECKING:
    from fnmodel.apikey import ApiKey

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="API keys of a stage whose `access` is `api_key: {}`.",
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DAY = 86_400
_FAR = 100 * 365 * _DAY
_UNITS = {"h": 3600, "d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY}


@app.command()
@placed
def add(
    name: Annotated[str, typer.Argument(help="Who gets it: letters, digits, `.`, `_`, `@`, `-`.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="predict (POST) or metadata (all else); both by default."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="After 12h, 30d, 8w or 1y, or on a date: 2030-01-31.")
    ] = None,
    rate: Annotated[
        int, typer.Option(min=0, max=10_000, help="Requests a second; 0: only the API's limit.")
    ] = 0,
    where: Where,
) -> None:
    """Make a key and print it, this once: only its hash is kept.

    Example: fnmodel keys add ci --scope predict --expires 90d --rate 20
    """
    import time

    now = time.time()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a key",
            hint="up to 64 letters, digits and . _ @ -, with a letter or digit first",
        )
    unknown = sorted(set(scope or ()) - set(SCOPES))
    if unknown:
        raise UsageError(f"there is no scope {unknown[0]!r}", hint=f"one of {', '.join(SCOPES)}")
    until = moment(expires, now) if expires else 0.0
    work = where.open()
    made = work.api_keys.add(name, now=now, scopes=scope or SCOPES, expires=until, rate=rate)
    data = {**described(made.key, now), "key": made.secret}
    work.console.data(data, pairs({"key": made.secret, **_shown(made.key, now)}))
    work.console.note("Keep it now: it cannot be shown again.")


@app.command(name="list")
@placed
def list_(*, where: Where) -> None:
    """List a stage's keys, revoked ones too; `used` is right to within an hour.

    Example: fnmodel keys list --stage production
    """
    import time

    work = where.open()
    keys, now = work.api_keys.list(), time.time()
    header = ["id", "name", "state", "scopes", "rate", "expires", "used"]
    rows = [
        [shown[column] or "" for column in header]
        for shown in (_shown(key, now) for key in keys)
    ]  # fmt: skip
    work.console.data([described(key, now) for key in keys], table(header, rows))


@app.command()
@placed
def revoke(
    key: Annotated[str, typer.Argument(help="A key's name or id.")],
    *,
    where: Where,
) -> None:
    """Let a key open nothing any more; API Gateway may still know it for a minute.

    Example: fnmodel keys revoke ci
    """
    import time

    work = where.open()
    now = time.time()
    revoked = work.api_keys.revoke(key, now=now)
    work.console.data(described(revoked, now), pairs(_shown(revoked, now)))


def moment(text: str, now: float) -> float:
    """Return the seconds since 1970 of `30d` from now, or of a date or time, UTC by default.

    Raises:
        UsageError: it is neither, or not within 100 years.

    """
    span = re.fullmatch(r"(\d{1,5})([hdwy])", text)
    try:
        if span:
            at = now + int(span[1]) * _UNITS[span[2]]
        else:
            date = datetime.fromisoformat(text)
            at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--expires {text!r}: {error}", hint="write 12h, 30d, 8w, 1y, or a date as 2030-01-31"
        ) from error
    if not now < at < now + _FAR:
        raise UsageError(
            f"--expires {text!r} is not within the next 100 years",
            hint="name another moment; a key without --expires never ends",
        )
    return at


def described(key: "ApiKey", now: float) -> dict[str, Any]:
    """Return what may be shown of a key, for a program."""
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        "scopes": list(key.scopes),
        "rate": key.rate or None,
        **{name: _time(getattr(key, name)) for name in ("created", "expires", "revoked", "used")},
    }


def _shown(key: "ApiKey", now: float) -> dict[str, Any]:
    shown = {**described(key, now), "scopes": " ".join(key.scopes)}
    return {**shown, "rate": f"{key.rate}/s" if key.rate else None}


def _time(seconds: int) -> str | None:
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
