"""Which published version an alias sends one request to. Pure."""

from collections.abc import Mapping


def choose(version: str, weights: Mapping[str, float], point: float) -> str:
    """Return the version for a random `point` in [0, 1).

    `weights` holds the share of each additional version, as an alias's `RoutingConfig` does; the
    rest goes to `version`.
    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
    """
    for other, share in sorted(weights.items()):
        if point < share:
            return other
        point -= share
    return version
