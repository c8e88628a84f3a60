"""Runs work between a Lambda response and the wait for the next event.

Lambda freezes a process when its runtime asks for the next event, not when it answers: what is done
between the two delays no caller. It is billed, as any millisecond is, and the next event that this
environment gets waits for it.
"""

from collections.abc import Callable


def run_after_responses(work: Callable[[], None]) -> None:
    """Have this process's runtime client call `work`, which raises nothing, before each wait."""
    from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient as Client

    wait = Client.wait_next_invocation

    def wait_after_work(self: Client) -> object:
        work()
        return wait(self)

    Client.wait_next_invocation = wait_after_work
