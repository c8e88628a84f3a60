"""The alias that serves: what it says, and moving it without overwriting anybody's move."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ConflictError, ReleaseError

_UNPUBLISHED = "$LATEST"


@dataclass(frozen=True)
class AliasState:
    """Where an alias sends requests.

    `version` is the stable one; `weights` gives the share of at most one other version, the
    candidate, in 0..1 without the ends. `revision_id` names this very state of the alias in AWS.
    """

    version: str
    weights: Mapping[str, float] = field(default_factory=dict)
    revision_id: str = ""

    def __post_init__(self) -> None:
        if len(self.weights) > 1:
            raise ValueError("an alias routes to at most two versions")
        for version, weight in self.weights.items():
            if not 0 < weight < 1:
                message = f"a candidate's weight lies between 0 and 1, not {weight}"
                raise ValueError(message)
            if version == self.version or _UNPUBLISHED in (version, self.version):
                raise ValueError("weights need two different published versions")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))

    @property
    def candidate(self) -> str | None:
        """The version that gets a share of the requests beside the stable one."""
        return next(iter(self.weights), None)

    def serves_as(self, other: "AliasState") -> bool:
        """Whether requests go to the same versions with the same shares."""
        return self.version == other.version and dict(self.weights) == dict(other.weights)


class AliasRouter:
    """One alias of one function, read and moved through the Lambda API."""

    def __init__(self, client: Any, function: str, alias: str = "live") -> None:
        self._client = client
        self.function = function
        self.alias = alias

    def read(self) -> AliasState:
        """Return what the alias says now.

        Raises:
            ReleaseError: there is no such function or alias.

        """
        with translated():
            try:
                answer = self._client.get_alias(FunctionName=self.function, Name=self.alias)
            except self._client.exceptions.ResourceNotFoundException as error:
                raise ReleaseError(
                    f"{self.function} has no alias {self.alias!r}", hint="run `fnmodel deploy`"
                ) from error
        return state_of(answer)

    def move(self, state: AliasState, expected: AliasState) -> AliasState:
        """Move the alias to `state` if it still is `expected`; return it with its new revision.

        One call, never repeated blindly: a lost answer shows as a conflict, and reading the alias
        tells what is true.

        Raises:
            ConflictError: the alias has moved since `expected` was read.
            ReleaseError: Lambda refuses the versions or weights.

        """
        if not expected.revision_id:
            raise ValueError("an alias is moved only from a state that was read")
        errors = self._client.exceptions
        with translated():
            try:
                answer = self._client.update_alias(
                    FunctionName=self.function,
                    Name=self.alias,
                    FunctionVersion=state.version,
                    RoutingConfig={"AdditionalVersionWeights": dict(state.weights)},
                    RevisionId=expected.revision_id,
                )
            except errors.PreconditionFailedException as error:
                raise ConflictError(
                    f"{self.function}:{self.alias} was moved by someone else just now",
                    hint="look at `fnmodel status` and decide again",
                ) from error
            except (
                errors.InvalidParameterValueException, errors.ResourceNotFoundException,
            ) as error:  # fmt: skip
                raise ReleaseError(
                    f"{self.function}:{self.alias} cannot be moved to version {state.version}: "
                    f"{error.response['Error']['Message']}",
                    hint="`fnmodel status` lists the versions",
                ) from error
        return state_of(answer)


def state_of(answer: Mapping[str, Any]) -> AliasState:
    """Return what Lambda's API says of an alias."""
    routing = answer.get("RoutingConfig") or {}
    weights = routing.get("AdditionalVersionWeights") or {}
    version = answer["FunctionVersion"]
    # Set by hand, a weight may be 0, which is no candidate, or 1, which is all the requests.
    version = next((other for other, weight in weights.items() if weight >= 1), version)
    shares = {other: weight for other, weight in weights.items() if 0 < weight < 1}
    return AliasState(version, shares, answer["RevisionId"])
