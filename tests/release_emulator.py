"""The fixture `emulator`: one control plane for all the test modules that ask for it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from release_cases import STAGES, Emulator, Stub


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Start an emulator on a free port of this machine, and stop it by its process id."""
    stub = Stub()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    hooks = {f"MINISTACK_LAMBDA_PROXY_fnmodel-churn-{stage}": stub.url for stage in STAGES}
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env={
            **os.environ, **hooks,
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
            "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(url, process)
        yield Emulator(url, stub)
    finally:
        process.terminate()
        process.wait(timeout=20)
        stub.server.shutdown()
        stub.server.server_close()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        assert process.poll() is None, "the emulator ended at its start"
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the emulator did not answer within 40 s")
