"""The image's entry point: `python3 -P -s -S -m handlers.start HANDLER`.

In Lambda, which says so by AWS_LAMBDA_RUNTIME_API, it runs the handler; anywhere else the same
image is an HTTP server on PORT, and the handler's name is not looked at.
"""

import os
import sys

from fnmodel import imports


def main() -> None:
    """Run the host that this container has been started in."""
    imports.install()  # before the imports below, which it speeds up
    if "AWS_LAMBDA_RUNTIME_API" in os.environ:
        from awslambdaric.__main__ import main as run

        run(sys.argv)
    else:
        import signal

        # Linux ignores signals that the first process of a container has no handler for.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
        from fnmodel.serve.server import main as serve

        sys.exit(serve(os.environ))


if __name__ == "__main__":
    main()
