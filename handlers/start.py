"""The image's entry point: `python3 -P -s -S -m handlers.start HANDLER`."""

import sys

from awslambdaric.__main__ import main

if __name__ == "__main__":
    main(sys.argv)
