"""River's detectors on streams of errors: rows of alarms, as JSON on stdout.

python river_peer.py STREAMS.json DETECTOR…
"""

import json
import sys
import time
from pathlib import Path

from river import drift


def main(path: str, *names: str) -> None:
    """Feed each stream to each detector."""
    streams = json.loads(Path(path).read_text())
    makers = {
        "adwin": drift.ADWIN,
        "page-hinkley": lambda: drift.PageHinkley(mode="up"),
        "ddm": drift.binary.DDM,
    }
    result = {}
    for name in names:
        make = makers[name]
        began = time.perf_counter()
        alarms = []
        for stream in streams:
            detector, found = make(), []
            for at, x in enumerate(stream):
                detector.update(x)
                if detector.drift_detected:
                    found.append(at)
            alarms.append(found)
        took = (time.perf_counter() - began) / sum(map(len, streams))
        result[name] = {"alarms": alarms, "seconds": took}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
