"""Names the process that releases, so that the lease of a killed one need not be waited for."""

import getpass
import os
import re
import socket


def this_process() -> str:
    """Return `user@host, process N`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def is_gone(name: str) -> bool:
    """Whether a holder was a process of this host that has certainly ended.

    A process number that was given to another program since, or a holder elsewhere, counts as
    alive: its lease runs out by itself.
    """
    matched = re.fullmatch(r".+@(.+), process (\d+)", name)
    if matched is None or matched[1] != socket.gethostname():
        return False
    try:
        os.kill(int(matched[2]), 0)  # signal 0 only asks
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
