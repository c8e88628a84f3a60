"""The image's entry point: `python3 -P -s -S -m handlers.start HANDLER`."""

import sys

from fnmodel import imports

imports.install()  # before the next import, which it speeds up

from awslambdaric.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main(sys.argv)
