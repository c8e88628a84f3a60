"""Environments that are kept started: of each version that serves, not of the alias.

An alias with provisioned concurrency of its own cannot be given weights and settings in one update,
nor can these be changed while it has weights; so the alias has none, and moving it stays one call.
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import AwsError, ReleaseError
from fnmodel.release.alias import AliasRouter, AliasState

Kept = Mapping[str, int]
"""How many environments of each version are kept started."""


def wanted(versions: Iterable[str], count: int) -> Kept:
    """Return what is to be kept: as many of each, since any of them may get all requests at once.

    A canary has few requests, but its promotion is one call, and so is the way back.
    """
    return dict.fromkeys(versions, count) if count else {}


class Provisioned:
    """Keeps `count` environments of each version that serves started; 0 keeps none.

    `interval` is the pause between two looks in seconds; `timeout` bounds a wait.
    """

    def __init__(
        self,
        client: Any,
        function: str,
        count: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 2.0,
        timeout: float = 900.0,
    ) -> None:
        self._client = client
        self._function = function
        self.count = count
        self._sleep, self._clock = sleep, clock
        self._interval, self._timeout = interval, timeout

    def keep(self, versions: Iterable[str]) -> None:
        """Have these versions kept started and no others, which are billed by the hour.

        Repeated, it only reads. First what is missing, then what is left over.

        Raises:
            AwsError: Lambda refused, for example for want of unreserved concurrency.

        """
        asked = wanted(versions, self.count)
        found = {version: kept["count"] for version, kept in self._found().items()}
        with translated():
            for version, count in asked.items():
                if found.get(version) != count:
                    self._client.put_provisioned_concurrency_config(
                        FunctionName=self._function,
                        Qualifier=version,
                        ProvisionedConcurrentExecutions=count,
                    )
            for version in found.keys() - asked.keys():
                self._client.delete_provisioned_concurrency_config(
                    FunctionName=self._function, Qualifier=version
                )

    def started(self, version: str) -> None:
        """Wait until the environments of a version have started.

        Raises:
            ReleaseError: they cannot, or have not in time; the alias is as before.

        """
        deadline = self._clock() + self._timeout
        while True:
            kept = self._found().get(version, {"status": "FAILED", "reason": "there are none"})
            if kept["status"] == "READY":
                return
            if kept["status"] == "FAILED":
                raise ReleaseError(
                    f"{self._function}:{version}: {self.count} environments cannot be kept "
                    f"started: {kept['reason'] or 'Lambda gives no reason'}",
                    hint="lower function.provisioned_concurrency, or ask AWS for more concurrency",
                )
            if self._clock() >= deadline:
                raise ReleaseError(
                    f"{self._function}:{version}: {self.count} environments have not started in "
                    f"{self._timeout:.0f} s",
                    hint="AWS is still at it; run the same command again and it waits on",
                )
            self._sleep(self._interval)

    def _found(self) -> dict[str, dict[str, Any]]:
        """Return what is kept started, by version; a person's settings of an alias are left out."""
        with translated():
            pages = self._client.get_paginator("list_provisioned_concurrency_configs").paginate(
                FunctionName=self._function
            )
            found = [one for page in pages for one in page["ProvisionedConcurrencyConfigs"]]
        by_version = {one["FunctionArn"].rpartition(":")[2]: one for one in found}
        return {
            version: {
                "count": one["RequestedProvisionedConcurrentExecutions"],
                "status": one["Status"],
                "reason": one.get("StatusReason", ""),
            }
            for version, one in by_version.items()
            if version.isdecimal()
        }


class StartedRouter(AliasRouter):
    """An alias whose versions are kept started.

    The alias moves first, by its one call: neither a step nor a way back waits for environments.
    What follows is told to `note` where it fails, for the requests are where they should be.
    """

    def __init__(
        self,
        client: Any,
        function: str,
        alias: str,
        provisioned: Provisioned,
        note: Callable[[str], object],
    ) -> None:
        super().__init__(client, function, alias)
        self._provisioned = provisioned
        self._note = note

    def move(self, state: AliasState, expected: AliasState) -> AliasState:
        """Move the alias as `AliasRouter` does, then keep the versions it has now started."""
        moved = super().move(state, expected)
        try:
            self._provisioned.keep((moved.version, *moved.weights))
        except AwsError as error:
            self._note(f"provisioned concurrency is as it was before the move: {error.message}")
        return moved
