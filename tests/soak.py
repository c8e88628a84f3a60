"""Requests without end to one process, whose memory has to stay as it is.

    python tests/soak.py [--requests 200000] [--seed 7]

Small and large bodies, tensors and records, health checks, refusals of each kind and slow models
that are stopped, in a fixed mixture. After a tenth of the requests, which fills what is kept on
purpose, memory may grow by 16 MiB. Prints medians and the slowest hundredth of each tenth too, as
JSON; exit code 1 where memory grows by more.
"""

import argparse
import gc
import json
import random
import resource
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz import handler
from serve_cases import event

PARTS = 10
GROWTH = 16 << 20
ROW, MIXED = {"a": 1.5, "b": 2, "c": -0.5}, {"age": 30, "income": None, "plan": "é", "visits": 2}
INFER = "/v2/models/churn/infer"


class Due:
    """Lambda's context of a request with so many seconds left."""

    aws_request_id = "soak"

    def __init__(self, seconds: float = 30) -> None:
        self._due = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's."""
        return int((self._due - time.monotonic()) * 1000)


def tensor(rows: int) -> dict[str, Any]:
    data = {"name": "X", "datatype": "FP32", "shape": [rows, 3], "data": [1.5, 2, 3] * rows}
    return {"inputs": [data]}


# model, event, expected status, how often
MIXTURE: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("classifier", event(body={"records": [ROW]}), 200, 500),
    ("classifier", event(body={"records": [ROW] * 20}), 200, 100),
    ("classifier", event(path=INFER, body=tensor(1)), 200, 200),
    ("classifier", event(path=INFER, body=tensor(7)), 200, 50),
    ("classifier", event(body={"records": [ROW] * 2000}), 200, 2),
    ("mixed", event(body={"records": [MIXED]}), 200, 100),
    ("mixed", event(body={"records": [{**MIXED, "plan": 5}]}), 400, 20),
    ("classifier", event(body="["), 400, 10),
    ("classifier", event(path=INFER, body={"inputs": []}), 400, 10),
    ("classifier", event(body=" " * 6_000_001), 413, 1),
    ("classifier", event(method="GET", path="/v2/health/ready"), 200, 20),
    ("classifier", event(method="GET", path="/v2"), 200, 5),
    ("classifier", event(method="GET", path="/nothing"), 404, 5),
)
STOPPED = event(body={"records": [{"x": 4e9}]})


def soak(count: int, seed: int) -> dict[str, Any]:
    """Send the mixture; return memory and times of each tenth."""
    chance = random.Random(seed)
    called = {name: handler(name) for name in ("classifier", "mixed", "slow")}
    weights = [often for *_, often in MIXTURE]
    statuses: Counter[int] = Counter()
    parts: list[dict[str, float]] = []
    for _ in range(PARTS):
        times: list[float] = []
        for name, sent, expected, _ in chance.choices(MIXTURE, weights, k=count // PARTS):
            context = Due()
            started = time.perf_counter()
            status = called[name](sent, context)["statusCode"]
            times.append(time.perf_counter() - started)
            statuses[status] += 1
            assert status == expected, (status, sent)
        for _ in range(5):
            statuses[called["slow"](STOPPED, Due(0.51))["statusCode"]] += 1
        cuts = statistics.quantiles(times, n=100)
        parts.append(
            {"resident": resident(), "p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}
        )  # fmt: skip
    growth = parts[-1]["resident"] - parts[0]["resident"]
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "parts": parts,
        "growth": growth,
        "p99_last_to_first": parts[-1]["p99_us"] / parts[0]["p99_us"],
        "flat": growth <= GROWTH,
    }


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    result = soak(options.requests, options.seed)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(not result["flat"])


if __name__ == "__main__":
    sys.exit(main())
