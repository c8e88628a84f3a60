"""What wakes the controller of rollouts every minute, and only while one goes on."""

from typing import Any, Protocol

from fnmodel.aws import translated


class Clock(Protocol):
    """Wakes the controller, or does not."""

    def start(self) -> None:
        """Wake it from now on."""

    def stop(self) -> None:
        """Wake it no more."""


class NoClock:
    """A stage without a controller: the commands alone drive its rollouts."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class RuleClock:
    """A scheduled rule of EventBridge that is switched on and off; each is one call."""

    def __init__(self, client: Any, rule: str) -> None:
        self._client = client
        self._rule = rule

    def start(self) -> None:
        """Wake it from now on.

        Raises:
            AwsError: EventBridge refused.

        """
        with translated():
            self._client.enable_rule(Name=self._rule)

    def stop(self) -> None:
        """Wake it no more.

        Raises:
            AwsError: EventBridge refused.

        """
        with translated():
            self._client.disable_rule(Name=self._rule)
