"""What a deploy renews last: the images beside the model's, and what is kept started."""

from collections.abc import Mapping

from release_cases import image_uri

from fnmodel.cli.recipe import Beside, beside
from fnmodel.provision.stack import Stack

OLD, NEW = image_uri("a"), image_uri("b")


def stack(parameters: Mapping[str, str], outputs: Mapping[str, str]) -> Stack:
    return Stack("fnmodel-churn-dev", "id", "UPDATE_COMPLETE", "", outputs, parameters, {})


def test_a_new_stage_has_nothing_beside_its_model() -> None:
    """So that its first step makes no controller, and starts nothing."""
    assert beside(None) == Beside(None, None, 0)
    assert beside(stack({"ImageUri": OLD}, {})) == Beside(None, None, 0)


def test_what_runs_beside_the_model_is_what_the_stack_says() -> None:
    """A candidate that was not gated yet is in ImageUri alone."""
    given = {"ImageUri": NEW, "AuthorizerImageUri": OLD, "ControllerImageUri": OLD}

    assert beside(stack(given, {"RolloutClock": "c", "Provisioned": "3"})) == Beside(OLD, OLD, 3)


def test_a_stack_of_an_older_fnmodel_keeps_its_controller() -> None:
    """It had one image for both, which is what its controller goes on with."""
    assert beside(stack({"ImageUri": OLD}, {"RolloutClock": "c"})).controller == OLD


def test_a_kept_number_without_a_rollout_needs_no_controller() -> None:
    """Moves by hand keep versions started from the command line."""
    found = beside(stack({"ImageUri": OLD}, {"Provisioned": "2"}))

    assert (found.controller, found.provisioned) == (None, 2)
