"""What a stack costs by itself in a month, and what a million requests cost. Pure arithmetic."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.provision import prices
from fnmodel.provision.resolve import Resource

SECONDS = 0.02
"""How long a request is assumed to take; nobody has measured this model yet."""
LOGGED = 0.7e3
"""Bytes of log that a request is assumed to write."""
_MONTH = 730 * 3600  # seconds, as AWS's own calculator counts
_MAIN = "Function"


@dataclass(frozen=True)
class Item:
    """One line of a bill, in dollars; `amount` is None where the price is not known."""

    what: str
    amount: float | None


@dataclass(frozen=True)
class Cost:
    """A month without requests, and a million requests, in dollars, before tax and free tiers."""

    monthly: tuple[Item, ...]
    million: tuple[Item, ...]

    @property
    def known(self) -> float:
        """The sum of a month's known items."""
        return sum(item.amount or 0.0 for item in self.monthly)

    @property
    def per_million(self) -> float:
        """The sum of a million requests' known items."""
        return sum(item.amount or 0.0 for item in self.million)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What has no known price."""
        return tuple(i.what for i in (*self.monthly, *self.million) if i.amount is None)


def estimate(resources: Mapping[str, Resource], region: str, ready: int = 0) -> Cost:
    """Return what resources cost in a region; all of it is unknown where its prices are.

    `ready` environments of the version that serves are kept started; while a second one has
    requests, as many more are.
    """
    if region != prices.REGION:
        unknown = (Item(f"all prices of {region}", None),)
        return Cost(unknown if resources else (), ())
    return Cost((*_at_rest(resources), *_ready(resources, ready)), tuple(_by_use(resources)))


def _ready(resources: Mapping[str, Resource], count: int) -> Iterator[Item]:
    function = resources.get(_MAIN)
    if not count or function is None:
        return
    price = prices.READY_GB_SECOND[_size(function.properties)[1]]
    yield Item(
        f"provisioned concurrency, {count} environments of one version",
        count * _held(function.properties, price),
    )


def _at_rest(resources: Mapping[str, Resource]) -> Iterator[Item]:
    for name, resource in resources.items():
        given = resource.properties
        match resource.type:
            case "AWS::CloudWatch::Alarm":
                yield Item(f"alarm {name}", _alarm(given))
            case "AWS::CloudWatch::Dashboard":
                yield Item(f"dashboard {name}", prices.DASHBOARD)
            case "AWS::KMS::Key":
                yield Item(f"key {name}", prices.KEY)
            case "AWS::Lambda::Function" if _snaps(given):
                yield Item(
                    f"snapshot of one version of {name}", _held(given, prices.SNAPSHOT_GB_SECOND)
                )
            case kind:
                if kind not in prices.FREE_AT_REST:
                    yield Item(f"{name} ({kind})", None)


def _by_use(resources: Mapping[str, Resource]) -> Iterator[Item]:
    function = resources.get(_MAIN)
    if function is None:
        return
    memory, architecture = _size(function.properties)
    yield Item("Lambda requests", 1e6 * prices.INVOCATION)
    running = 1e6 * SECONDS * memory / 1024 * prices.GB_SECOND[architecture]
    yield Item(f"Lambda, {SECONDS * 1000:g} ms each at {memory:,} MB", running)
    if any(one.type == "AWS::ApiGatewayV2::Api" for one in resources.values()):
        yield Item("HTTP API requests", 1e6 * prices.HTTP_REQUEST)
    yield Item(f"log, {LOGGED / 1000:g} KB each", 1e6 * LOGGED / 1e9 * prices.LOG_GB)


def _alarm(given: Mapping[str, Any]) -> float | None:
    queries = given.get("Metrics", ())
    if any("MetricStat" not in one and "ANOMALY" in str(one) for one in queries):
        return None
    metrics = sum("MetricStat" in one for one in queries) or 1
    periods = [one["MetricStat"].get("Period", 60) for one in queries if "MetricStat" in one]
    fast = min(int(p) for p in [*periods, given.get("Period", 60)]) < 60
    return metrics * (prices.FAST_ALARM if fast else prices.ALARM)


def _snaps(given: Mapping[str, Any]) -> bool:
    return bool(given.get("SnapStart", {}).get("ApplyOn", "None") != "None")


def _held(given: Mapping[str, Any], price: float) -> float:
    """Return what the memory of one function costs in a month, by the price of a GB-second."""
    return _size(given)[0] / 1024 * _MONTH * price


def _size(given: Mapping[str, Any]) -> tuple[int, str]:
    [architecture] = given.get("Architectures", ["x86_64"])
    return int(given.get("MemorySize", 128)), architecture
