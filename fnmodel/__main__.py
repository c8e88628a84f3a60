"""The command `fnmodel`: runs the command line and turns errors of ours into exit codes."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from fnmodel.errors import FnmodelError, InterruptedRunError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; see `fnmodel.errors` for the codes."""
    _open_streams()
    # A stop asked for by a supervisor gets the same clean end as Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    code = run(arguments)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Threads of a client library must not hold up a command that is done.
    os._exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, with every error said on stderr."""
    import typer

    from fnmodel.cli.app import app

    try:
        outcome = app(args=arguments, prog_name="fnmodel", standalone_mode=False)
    except FnmodelError as error:
        return _say(error)
    except typer.Exit as stop:
        outcome = stop.exit_code
    except typer.TyperException as error:
        # Usage errors know how to show the command's usage line; the base class does not.
        show = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        outcome = InterruptedRunError.exit_code
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _crashed(error)
    if outcome == InterruptedRunError.exit_code:  # typer turns Ctrl-C into this exit
        return _say(InterruptedRunError("stopped", hint="the same command goes on where it was"))
    return outcome if isinstance(outcome, int) else 0


def _say(error: FnmodelError) -> int:
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    lines.append(f"code: {error.code} (`fnmodel explain {error.code}` says more)")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
    return error.exit_code


def _crashed(error: Exception) -> int:
    """Keep the traceback in a file: it is for us, not for the person at the terminal."""
    import time
    import traceback

    from fnmodel.home import folder

    path = folder("crashes") / time.strftime("%Y%m%dT%H%M%S.log")
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    sys.stderr.write(
        f"error: fnmodel has a bug: {type(error).__name__}: {error}\n"
        f"hint: please report it with {path}\n"
    )
    return 1


def _open_streams() -> None:
    """Give a closed standard stream to nobody, so that no file of ours takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
