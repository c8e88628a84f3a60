"""Runs a module inside a sandbox process, so that it dies with the embedded cloud.

    python -s -S bootstrap.py MODULE [ARGUMENT ...]

A plain script: it imports nothing of fnmodel, since only the image's own files are on the path.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then run the module named on the command line."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the parent died before the line above
            sys.exit(1)
    del sys.path[0], sys.argv[0]  # this script's folder and name
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
