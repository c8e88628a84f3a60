"""The child process of a conversion; its limits and its job come on stdin.

Answers on stdout, one JSON object a line: `{"progress": text}`, then `{"report": …}` or
`{"error": {"code", "message", "hint"}}`. What the model's own code prints goes to stderr.
"""

import json
import os
import resource
import sys
import threading
from typing import Any

from fnmodel.errors import FnmodelError, SlimError


def main() -> int:
    """Run the job and return the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**data: Any) -> None:
        answers.write(json.dumps(data) + "\n")
        answers.flush()

    order = json.loads(sys.stdin.buffer.readline())
    _limit(
        (resource.RLIMIT_CPU, order["seconds"]),
        (resource.RLIMIT_AS, order["memory"]),
        (resource.RLIMIT_FSIZE, order["file"]),
        (resource.RLIMIT_NPROC, order["tasks"]),
        (resource.RLIMIT_NOFILE, 4096),
        (resource.RLIMIT_CORE, 0),
    )
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # Here, so that the limits hold for what these modules import, too.
        from fnmodel.slim.job import run
        from fnmodel.slim.order import Job

        report = run(Job.from_json(order["job"]), lambda text: answer(progress=text))
        answer(report=report.to_json())
    except FnmodelError as error:
        answer(error={"code": error.code, "message": error.message, "hint": error.hint})
    except MemoryError:
        _fail(answer, f"the model needs more than {order['memory'] >> 30} GB of memory to convert")
    except Exception as error:
        import traceback

        traceback.print_exc()
        _fail(answer, f"the conversion broke off with {type(error).__name__}: {error}")
    return 0


def _fail(answer: Any, message: str) -> None:
    hint = "please report what kind of model it is, or convert it to ONNX and name that file"
    answer(error={"code": SlimError.code, "message": message, "hint": hint})


def _limit(*limits: tuple[int, int]) -> None:
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def _end_with_parent() -> None:
    # The parent holds the other end of stdin: when it is killed, this read ends.
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
