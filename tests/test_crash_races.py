"""Two commands at once: nobody's move is lost, and who loses is told so."""

from pathlib import Path

import pytest
from crash_cases import World
from race_cases import RACES, Race, race

# `make crash` tries a change after every call.
EVERY = 13


@pytest.mark.parametrize("one", RACES, ids=lambda one: one.name)
def test_two_commands_come_to_what_one_after_the_other_does(tmp_path: Path, one: Race) -> None:
    """Changed after any call, both end well, or one is told that it was too late."""
    assert race(World(tmp_path), one, every=EVERY)
