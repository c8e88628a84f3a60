"""The process of the embedded cloud: the emulator's ASGI app, its state saved as it changes."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from fnmodel.local.entrance import path_sent

STATUS_PATH = "/_fnmodel/status"
_SETTLED = 0.5
"""Seconds without a change before the state is written."""


def environment(port: int, folder: Path) -> dict[str, str]:
    """Return the emulator's settings; they must be set before it is imported."""
    return {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": "us-east-1",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        # Listeners on fixed ports that nobody here asks for.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder / "tmp"),
    }


def serve(port: int, folder: Path, token: str, make_plane: Callable[[str], Any]) -> None:
    """Serve until SIGTERM or SIGINT. `make_plane` makes the data plane, given our own URL.

    `token` names this process to `control`, so that a port taken by a stranger is noticed.
    """
    for name in ("state", "s3", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.update(environment(port, folder))
    # The user's own keys and endpoints have no business in here.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    asyncio.run(_serve(port, folder, token, make_plane))


async def _serve(port: int, folder: Path, token: str, make_plane: Callable[[str], Any]) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config
    from ministack import app as emulator

    from fnmodel.local import pipeline, seam

    def build(project: dict[str, Any], given: str) -> None:
        pipeline.start(pipeline.variables(project, given), folder)

    plane = make_plane(f"http://127.0.0.1:{port}")
    seam.install(plane, build=build)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)

    async def stopped() -> None:
        await stop.wait()
        await asyncio.to_thread(plane.collect)  # while the bucket still answers

    keeper = StateKeeper()
    saving = asyncio.create_task(keeper.run())
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 2
    config.loglevel = "WARNING"
    try:
        await hypercorn_serve(
            Gateway(emulator.app, token, plane, keeper),
            config,
            shutdown_trigger=stopped,
        )
    finally:
        saving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saving
        plane.close()


class Gateway:
    """ASGI: answers `/_fnmodel/status`, passes the rest on and notes what may change state."""

    def __init__(self, app: Any, token: str, plane: Any, keeper: "StateKeeper") -> None:
        self._app = app
        self._token = token
        self._plane = plane
        self._keeper = keeper

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: D102
        if scope["type"] == "http" and scope["path"] == STATUS_PATH:
            sandboxes = [
                {"function": function, "version": version, "pid": pid}
                for function, version, pid in self._plane.sandboxes()
            ]
            body = orjson.dumps({"token": self._token, "pid": os.getpid(), "sandboxes": sandboxes})
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            path_sent.set(raw.partition(b"?")[0].decode("latin-1"))
        await self._app(scope, receive, send)
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            self._keeper.note()


class StateKeeper:
    """Saves the emulator's state soon after it changed, so that a kill loses a second of it.

    The emulator itself saves on a clean shutdown only. Image blobs never change under their digest
    and are large, so the registry is written only when it holds other blobs than before.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._registry: frozenset[str] = frozenset()

    def note(self) -> None:
        """Say that something may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Save whenever changes have settled; runs until cancelled."""
        while True:
            await self._changed.wait()
            while self._changed.is_set():
                self._changed.clear()
                await asyncio.sleep(_SETTLED)
            self._save()

    def _save(self) -> None:
        from fnmodel.local import seam

        self._registry = seam.save_state(self._registry)
