"""`status`, `history`, `logs`, `doctor`, `explain`: what is deployed, and what is the matter."""

import time
from pathlib import Path
from typing import Annotated

import typer

from fnmodel.cli.console import Console, Output, pairs, shortened, table
from fnmodel.cli.options import (
    LocalOption,
    OutputOption,
    ProfileOption,
    ProjectOption,
    RegionOption,
    StageOption,
    Where,
    placed,
)
from fnmodel.errors import UsageError

_WHY = 120


@placed
def status(*, where: Where) -> None:
    """Say what is deployed in a stage: URL, traffic, versions and their images.

    Example: fnmodel status --output json
    """
    from fnmodel.cli import rollout as rollouts
    from fnmodel.cli.rollout_view import brief
    from fnmodel.cli.traffic import shares

    work = where.open()
    stack = work.stack
    rolling = work.rollouts.current()
    alias = work.router.read()
    versions = work.publisher.versions()
    share_of = shares(alias.version, alias.weights)
    listed = [
        {"version": v.number, "traffic": share_of.get(v.number, 0.0), "digest": v.digest}
        for v in reversed(versions)
    ]
    holder = work.ledger.holder()
    data = {
        "name": work.project.name,
        "models": list(work.project.served),
        "stage": work.stage,
        "cloud": work.settings.cloud,
        "url": work.url if work.open else None,
        "access": stack.access,
        "stack": {"name": stack.name, "status": stack.status},
        "alias": {"version": alias.version, "weights": dict(alias.weights)},
        "versions": listed,
        "rollout": rollouts.data(rolling) if rolling is not None else None,
        "releasing": {
            "who": holder.name,
            "until": holder.until,
            "id": holder.id,
            "since": holder.began or None,
        }
        if holder
        else None,
    }
    rows = [[v["version"], f"{v['traffic']:.2%}", str(v["digest"])[:19]] for v in listed]
    shown = {
        "url": work.url if work.open else "not open yet: no version has passed its gate",
        "access": stack.access or "",
        "stage": f"{work.stage} ({work.settings.cloud})",
        "models": ", ".join(work.project.models),
        "stack": f"{stack.name} {stack.status}",
        "rollout": brief(rolling, time.time()) if rolling is not None else "",
        "releasing": f"{holder.name} until {holder.until}" if holder else "",
    }
    text = f"{pairs(shown)}\n\n{table(['version', 'traffic', 'image'], rows)}"
    work.console.data(data, text)


@placed
def history(
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Newest records to show.")
    ] = 20,
    where: Where,
) -> None:
    """Show who released what, when and why, newest first; `--output json` has every word.

    Example: fnmodel history -n 5
    """
    from dataclasses import asdict

    from fnmodel.cli.traffic import describe

    work = where.open()
    records = work.ledger.history(limit)
    rows = [
        [
            r.time,
            r.action,
            r.result,
            describe(r.stable, r.weights) if r.stable else r.version and f"version {r.version}",
            r.digest[:19],
            r.who,
            shortened(r.reason, _WHY),
        ]
        for r in records
    ]
    header = ["time", "action", "result", "traffic", "image", "who", "why"]
    work.console.data([asdict(record) for record in records], table(header, rows))


def logs(
    *,
    tail: Annotated[bool, typer.Option("--tail", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[str, typer.Option(help="How far back: 30s, 10m, 2h, 1d.")] = "10m",
    version: Annotated[str | None, typer.Option("--version", help="This version only.")] = None,
    grep: Annotated[str | None, typer.Option("--filter", help="Lines that hold this.")] = None,
    project: ProjectOption = Path(),
    stage: StageOption = None,
    local: LocalOption = False,
    profile: ProfileOption = None,
    region: RegionOption = None,
) -> None:
    """Print what the function said, oldest first.

    Example: fnmodel logs --tail --version 2
    """
    from fnmodel.cli.follow import Follower, seconds
    from fnmodel.cli.workspace import Workspace

    work = Workspace(project, stage=stage, local=local, profile=profile, region=region)
    group = work.stack.outputs["LogGroup"]
    follower = Follower(work.client("logs"), group, version=version, holds=grep)
    start = time.time() - seconds(since)
    while True:
        for line in follower.lines(start):
            typer.echo(line)
        if not tail:
            return
        time.sleep(1.0)


def doctor(output: OutputOption = Output.table) -> None:
    """Check this machine, say what is missing and how to get it, and where local differs from AWS.

    Example: fnmodel doctor
    """
    from fnmodel.cli.checkup import differences, examine

    findings, different = examine(), differences()
    rows = [[f.state, f.name, f.found, f.remedy] for f in findings]
    data = [
        {"state": f.state, "check": f.name, "found": f.found, "remedy": f.remedy}
        for f in (*findings, *different)
    ]
    text = table(["", "check", "found", "what to do"], rows)
    if different:
        listed = [[f.name.partition(": ")[2], f.found, f.remedy] for f in different]
        text += "\n\n" + table(["local ≠ AWS", "here", ""], listed)
    Console(output).data(data, text)
    if any(finding.state == "FAIL" for finding in findings):
        raise typer.Exit(1)


def explain(
    code: Annotated[str, typer.Argument(help="A code such as FNM-S004.")],
    output: OutputOption = Output.table,
) -> None:
    """Explain an error's code.

    Example: fnmodel explain FNM-S004
    """
    import inspect

    from fnmodel.errors import by_code

    found = by_code()
    kind = found.get(code.upper())
    if kind is None:
        raise UsageError(f"there is no code {code}", hint=f"known: {', '.join(found)}")
    text = inspect.cleandoc(kind.__doc__ or "")
    data = {"code": kind.code, "exit_code": kind.exit_code, "text": text}
    Console(output).data(data, f"{kind.code} (exit code {kind.exit_code})\n\n{text}")
