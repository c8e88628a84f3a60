"""A large object streams through a run in memory that does not grow with it."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import itertools, json, sys
from datetime import UTC, datetime
from pathlib import Path
from fnmodel.batch.job import JobRequest
from fnmodel.batch.objects import Object
from fnmodel.batch.run import Model, run
from fnmodel.batch.work import Host
sys.path.insert(0, sys.argv[2])
from serve_cases import predictor

size = int(sys.argv[1])
block = b"".join(b"1,30,5.5,gold,%d,%s\\n" % (n % 7, b"n" * 2000) for n in range(500))

class Stream:
    def __init__(self):
        self.left = size // len(block)
        self.rest = b"id,age,income,plan,visits,note\\n"
    def read(self, count=-1):
        while len(self.rest) < count and self.left:
            self.rest += block
            self.left -= 1
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

class Store:
    def list(self, prefix):
        return [Object("in/a.csv", "e", size)] if prefix == "in/" else []
    def open(self, key, etag):
        return Stream()
    def put(self, key, body, **_):
        if not isinstance(body, bytes):
            while body.read(1 << 20):
                pass
        return True

request = JobRequest("j", "b", "in/", "out/", 0, datetime.now(UTC), "arn")
manifest = run(request, Store(), predictor("mixed"), model=Model("m", "1", "d"),
               host=Host(clock=lambda: datetime.now(UTC)))
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
print(json.dumps({"peak": peak, **manifest["totals"]}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat() -> None:
    """An object of 1 GB takes at most a tenth more memory than one of 100 MB."""

    def run(megabytes: int) -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(megabytes << 20), "tests"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    small, large = run(100), run(1000)

    assert large["rows"] == large["scored"] > 9 * small["rows"]
    assert large["peak"] < 1.1 * small["peak"]
