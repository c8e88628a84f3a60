"""`fnmodel local`: the embedded cloud."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fnmodel.cli.console import Console, Output, pairs
from fnmodel.cli.options import OutputOption

_RECORD = 1_000_000

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The embedded cloud on this machine: no AWS account, no Docker. `deploy --local` starts "
    "it when needed; its state is below FNMODEL_HOME.",
)


@app.command()
def start(output: OutputOption = Output.table) -> None:
    """Start the embedded cloud and print its endpoint URL.

    Example: fnmodel local start
    """
    from fnmodel.cli.workspace import embedded_cloud

    console = Console(output)
    with console.step("local") as step:
        running = embedded_cloud().start(step.progress)
    data = {"running": True, "url": running.url, "pid": running.pid}
    console.data(data, pairs({**data, "pid": str(running.pid)}))


@app.command()
def stop(output: OutputOption = Output.table) -> None:
    """Stop the embedded cloud; what is deployed comes back with the next start.

    Example: fnmodel local stop
    """
    from fnmodel.cli.workspace import embedded_cloud

    stopped = embedded_cloud().stop()
    Console(output).data({"stopped": stopped}, "stopped" if stopped else "it was not running")


@app.command()
def status(output: OutputOption = Output.table) -> None:
    """Say whether the embedded cloud runs, where, and what it runs.

    Example: fnmodel local status --output json
    """
    from fnmodel.cli.workspace import embedded_cloud

    said = embedded_cloud().status()
    warm = [f"{s['function']}:{s['version']} (pid {s['pid']})" for s in said.get("sandboxes", [])]
    shown = {**said, "pid": str(said.get("pid", "")), "sandboxes": ", ".join(warm)}
    Console(output).data(said, pairs(shown))


@app.command(hidden=True)
def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")],
    token: Annotated[str, typer.Option(help="Name of this process for `status` and `stop`.")],
) -> None:
    """Serve the embedded cloud in the foreground; `start` runs this in the background."""
    from fnmodel.home import folder
    from fnmodel.local import gateway
    from fnmodel.local.dataplane import DataPlane

    def make_plane(url: str) -> DataPlane:
        # What a function in AWS finds in its environment, aimed at this machine.
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        return DataPlane(
            _image_source(url),
            folder("local", "sandboxes"),
            extra_env=environment,
            captured=_deliver(url),
        )

    gateway.serve(port, folder("local"), token, make_plane)


def _deliver(url: str) -> Any:
    """Return a function that gives captured rows to the stage's delivery stream.

    In AWS the log's subscription does that, which the emulator has for Lambda functions only.
    """
    import sys
    from functools import cache

    from fnmodel.aws import Cloud, translated
    from fnmodel.errors import FnmodelError
    from fnmodel.local.launch import FunctionVersion

    @cache
    def client() -> Any:
        return Cloud(endpoint_url=url).client("firehose")

    def deliver(function: FunctionVersion, lines: bytes) -> None:
        try:
            with translated():
                for part in _records(lines):
                    client().put_record(DeliveryStreamName=function.name, Record={"Data": part})
        except FnmodelError as error:
            # The stage captures no more, or the emulator is about to stop.
            sys.stderr.write(f"captured rows of {function.name} are lost: {error}\n")

    return deliver


def _records(lines: bytes) -> Iterator[bytes]:
    """Yield whole lines together, as many as Firehose takes in one record (1,000 KiB)."""
    while len(lines) > _RECORD:
        end = lines.rfind(b"\n", 0, _RECORD) + 1 or len(lines)
        yield lines[:end]
        lines = lines[end:]
    if lines:
        yield lines


def _image_source(url: str) -> Any:
    """Return a function that pulls an image from the emulator's registry and unpacks it once."""
    from fnmodel.cli.unpacked import unpacked
    from fnmodel.home import folder
    from fnmodel.local.launch import RootFs
    from fnmodel.pack.layout import Store
    from fnmodel.pack.reference import Reference
    from fnmodel.pack.registry import Registry

    store = Store(folder("cache", "oci"))

    def fetch(image_uri: str) -> RootFs:
        reference = Reference.parse(image_uri)
        assert reference.digest, "template.yaml takes images by digest only"
        return unpacked(Registry(url).pull(reference.repository, reference.digest, store), store)

    return fetch
