"""Runs a module and notes each file that Python opens, maps as an extension, or loads by ctypes.

    python -P -s -S opened.py NOTES MODULE [ARGUMENT ...]

A plain script: it imports nothing of fnmodel, since only the image's own files are on the path.
"""

import os
import sys


def main() -> None:
    """Note paths, one a line, until the process ends; run the module named on the command line."""
    notes = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    place = {"open": 0, "import": 1, "ctypes.dlopen": 0}

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in place:
            path = arguments[place[event]]
            if isinstance(path, str):
                os.write(notes, f"{os.path.abspath(path)}\n".encode(errors="replace"))  # noqa: PTH100

    del sys.argv[:2]  # this script's name and that of the notes
    import runpy

    sys.addaudithook(hook)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
