"""The command line: groups of commands, put together. Each command imports what it needs itself."""

from typing import Annotated

import typer

from fnmodel.cli import (
    alerts,
    audit,
    batch,
    build,
    cache,
    capture,
    card,
    deploy,
    gc,
    keys,
    local,
    operate,
    parity,
    pipeline,
    plan,
    rollout,
    supply,
    traffic,
    unlock,
    watch,
)

app = typer.Typer(
    name="fnmodel",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A trained model becomes a safe, fast, watched HTTPS endpoint on AWS Lambda.\n\n"
    "Start with: fnmodel init MODEL --sample FILE, then: fnmodel deploy --local",
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"fnmodel {version('fnmodel')}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a trained model into a safe, fast, watched HTTPS endpoint on AWS Lambda."""


for command in (
    build.init, build.slim, build.lock, build.pack, supply.inspect, supply.keygen, plan.plan,
    plan.apply,
    deploy.deploy, traffic.invoke, traffic.shift, traffic.promote, traffic.rollback, traffic.abort,
    operate.status, operate.history, operate.logs, operate.doctor, operate.explain, card.card,
    cache.prune, deploy.destroy, parity.parity, gc.gc, unlock.unlock,
):  # fmt: skip
    app.command()(command)
app.command()(pipeline.run)
for command in (alerts.look, alerts.alerts, alerts.decisions, alerts.approve):
    watch.app.command()(command)
app.add_typer(audit.app, name="audit")
app.add_typer(batch.app, name="batch")
app.add_typer(capture.app, name="capture")
app.add_typer(keys.app, name="keys")
app.add_typer(local.app, name="local")
app.add_typer(rollout.app, name="rollout")
app.add_typer(watch.app, name="watch")
