"""What can be done with a stack, decided from its status alone."""

import enum


class Step(enum.Enum):
    """The next step towards a deployed stack.

    CREATE: there is none, or only the shell that an unexecuted change set leaves.
    UPDATE: it stands and can be changed.
    WAIT: CloudFormation is working on it.
    DELETE: its creation or deletion failed; only deletion is possible, then creation.
    REFUSE: a person has to decide first.
    """

    CREATE = "create"
    UPDATE = "update"
    WAIT = "wait"
    DELETE = "delete"
    REFUSE = "refuse"


# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_STEPS = {
    "REVIEW_IN_PROGRESS": Step.CREATE,
    "DELETE_COMPLETE": Step.CREATE,
    "CREATE_COMPLETE": Step.UPDATE,
    "UPDATE_COMPLETE": Step.UPDATE,
    "UPDATE_ROLLBACK_COMPLETE": Step.UPDATE,
    "IMPORT_COMPLETE": Step.UPDATE,
    "IMPORT_ROLLBACK_COMPLETE": Step.UPDATE,
    "CREATE_FAILED": Step.DELETE,
    "ROLLBACK_COMPLETE": Step.DELETE,
    "ROLLBACK_FAILED": Step.DELETE,
    "DELETE_FAILED": Step.DELETE,
    "UPDATE_FAILED": Step.REFUSE,
    "UPDATE_ROLLBACK_FAILED": Step.REFUSE,
    "IMPORT_ROLLBACK_FAILED": Step.REFUSE,
}


def next_step(status: str | None) -> Step:
    """Return the next step for a stack status; None means that there is no stack."""
    if status is None:
        return Step.CREATE
    known = _STEPS.get(status)
    if known is not None:
        return known
    # A status of a later CloudFormation is either work in progress or not ours to touch.
    return Step.WAIT if status.endswith("_IN_PROGRESS") else Step.REFUSE


def stays(status: str) -> bool:
    """Whether a stack is not on its way out: what comes next is a change, not a new creation."""
    if next_step(status) is Step.WAIT:
        return status.startswith(("UPDATE_", "IMPORT_"))
    return next_step(status) in {Step.UPDATE, Step.REFUSE}


def succeeded(status: str) -> bool:
    """Whether the last create or update of a stack did what it was asked to."""
    return status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}


def way_out(name: str, status: str) -> str:
    """Return what a person can do about a stack that fnmodel must not touch."""
    if status == "UPDATE_ROLLBACK_FAILED":
        return (
            "mend what the events name, then run "
            f"`aws cloudformation continue-update-rollback --stack-name {name}`"
        )
    if status == "UPDATE_FAILED":
        return f"run `aws cloudformation rollback-stack --stack-name {name}`"
    return f"look at `aws cloudformation describe-stack-events --stack-name {name}`"
