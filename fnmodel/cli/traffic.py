"""`invoke`, `shift`, `promote`, `rollback`, `abort`: requests and where they go."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import PublicOption, Where, placed
from fnmodel.errors import (
    AccessError,
    FnmodelError,
    InputError,
    ReleaseError,
    ThrottledError,
    UsageError,
)

if TYPE_CHECKING:
    from fnmodel.release.alias import AliasState
    from fnmodel.release.release import Releases

VersionOption = Annotated[
    str | None, typer.Option("--version", help="Version; else the newest candidate.")
]


@placed
def invoke(
    *,
    version: Annotated[
        str | None, typer.Option("--version", help="Ask this version, whatever its traffic.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Ask this one of several; else the first.")
    ] = None,
    request: Annotated[Path | None, typer.Option(help="JSON to send; else `request:`.")] = None,
    where: Where,
) -> None:
    """Send the project's request to the endpoint; prints the curl line too.

    Where the stage asks for it, the request is signed with the AWS credentials, or carries the API
    key of FNMODEL_API_KEY or the token of FNMODEL_TOKEN.

    Example: fnmodel invoke --version 2
    """
    from fnmodel.cli import endpoint
    from fnmodel.release import probe

    work = where.open()
    name = work.project.model_name(model)
    body = _request(request or work.project.served[name].request)
    path = probe.predict_path(name if work.project.models else "")
    url = f"{work.url}{path}"
    if version is None:
        answer = endpoint.post(url, body, work.caller)
        status, said, answered_by = answer.status, answer.body, answer.version
        took = answer.milliseconds
    else:
        began = time.monotonic()
        event = probe.http_event(path, json.dumps(body))
        status, text = probe.ask(work.client("lambda"), work.name, version, event)
        said, answered_by = endpoint.parsed(text), version
        took = (time.monotonic() - began) * 1000
    if status != 200:
        raise _refused(f"{url} answered {status}", status, said)
    line = endpoint.curl(url, body, work.caller)
    work.console.note(line)
    data = {
        "url": url,
        "version": answered_by,
        "milliseconds": round(took, 3),
        "curl": line,
        "answer": said,
    }
    text = json.dumps(said, indent=2, ensure_ascii=False)
    work.console.data(
        data, f"{text}\n\n{pairs({'version': answered_by, 'took': f'{took:.1f} ms'})}"
    )


def _refused(what: str, status: int, said: Any) -> FnmodelError:
    detail = said.get("error", said.get("message", said)) if isinstance(said, dict) else said
    if status in {401, 403}:
        return AccessError(f"{what}: {detail}", hint="`fnmodel status` says who may call it")
    if status == 429:
        return ThrottledError(f"{what}: {detail}", hint="wait a little, then ask again")
    if 400 <= status < 500:
        return InputError(f"{what}: {detail}", hint="mend the request, or name another: --request")
    return ReleaseError(f"{what}: {detail}", hint="`fnmodel logs` shows more")


@placed
def shift(
    weight: Annotated[float, typer.Argument(help="Share of the requests in percent, 0 to 100.")],
    *,
    version: VersionOption = None,
    where: Where,
) -> None:
    """Send a share of the requests to the candidate, the newest version that passed its gate.

    Example: fnmodel shift 10
    """
    _move(where, "shift", lambda release: release.shift(weight, version))


@placed
def promote(
    *,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            help="Version; else the newest candidate, or with --from what serves there.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="Release here the image that serves there."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="STAGE", help="With --from: the same as --stage.")
    ] = None,
    public: PublicOption = None,
    where: Where,
) -> None:
    """Send all requests to the candidate; it becomes the stable version.

    With `--from` the image of another stage, the very digest, is released here as a deploy
    releases one: copied where the stages have different registries, proven, then rolled out.

    Example: fnmodel promote --from staging --to production
    """
    if source is None:
        if to is not None or public is not None:
            raise UsageError(
                "--to and --public need --from", hint="fnmodel promote --from staging --to …"
            )
        _move(where, "promote", lambda release: release.promote(version))
        return
    from fnmodel.cli import promoting

    promoting.run(where, source, to, version, public)


@placed
def rollback(*, where: Where) -> None:
    """Go back: take the candidate's traffic away, or return to the stable version before.

    Example: fnmodel rollback
    """
    _move(where, "rollback", lambda release: release.rollback())


@placed
def abort(*, where: Where) -> None:
    """Take the candidate's traffic away; without a candidate nothing is done.

    Example: fnmodel abort
    """
    _move(where, "abort", lambda release: release.abort())


def _move(where: Where, name: str, decide: Callable[["Releases"], "AliasState"]) -> None:
    work = where.open()
    with work.console.step(name) as step:
        state = decide(work.releases)
        step.done(describe(state.version, state.weights))
    data = {"stage": work.stage, "version": state.version, "weights": dict(state.weights)}
    shown = {"stage": work.stage, "traffic": describe(state.version, state.weights)}
    work.console.data(data, pairs(shown))


def describe(version: str, weights: Any) -> str:
    """Return the traffic of an alias for a person: `version 1: 90 %, version 2: 10 %`."""
    return ", ".join(
        f"version {number}: {share * 100:.4g} %"
        for number, share in shares(version, weights).items()
    )


def shares(version: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of the requests, in 0..1, of each version that an alias sends some to."""
    return {version: 1 - sum(weights.values()), **weights}


def _request(path: Path | None) -> Any:
    if path is None:
        raise UsageError("there is no request to send", hint="--request FILE, or `request:`")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant)
    except OSError as error:
        raise UsageError(
            f"the request {path} cannot be read: {error.strerror}", hint="name an existing file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", hint="it must hold JSON") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value; a missing one is null")
