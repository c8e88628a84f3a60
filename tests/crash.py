"""Every fault at every call, and two commands that change after any call: `make crash`."""

import sys
import tempfile
import time
from pathlib import Path

from crash_cases import SCENARIOS, World, converges
from race_cases import RACES, race


def main() -> int:
    """Run all; print what was tried, and each failure; return how many failed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        empty = world.save()
        trials = [(one.name, lambda one=one: converges(world, one)) for one in SCENARIOS]
        trials += [(one.name, lambda one=one: race(world, one)) for one in RACES]
        for name, trial in trials:
            world.load(empty)
            began = time.monotonic()
            try:
                said = f"{trial()} points"
            except AssertionError as error:
                failed += 1
                said = f"FAILED {error}"
            sys.stdout.write(f"{name:40} {said}, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(bool(main()))
