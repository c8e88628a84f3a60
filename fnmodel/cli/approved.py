"""Holds a deploy to a saved plan."""

from fnmodel.cli import planning, saved
from fnmodel.cli.recipe import Desired
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import ConflictError, LockHeldError, StackNotFoundError, StalePlanError
from fnmodel.provision.changes import unplanned
from fnmodel.provision.stack import ChangeSet
from fnmodel.release.chain import Head

_AGAIN = "look at what it would be now: `fnmodel plan --out FILE`, then apply that"


class SavedPlan:
    """A plan that somebody agreed to: the world must be as it was, and no more may be done."""

    def __init__(self, plan: saved.Plan) -> None:
        self._plan = plan
        self._id = plan.id
        self.evidence = f"plan {plan.id[:12]}"

    @property
    def head(self) -> Head:
        """Where the ledger ended when the plan was made."""
        world = self._plan.world
        return Head(world.entries, world.ledger) if world.ledger else Head()

    def check(self, work: Workspace, wanted: Desired) -> None:
        """Refuse when anything that the plan was made of is not as it was.

        Raises:
            StalePlanError: lists what has changed, or says who applied the plan.

        """
        self._refuse_second(work)
        moved = list(saved.moved(self._plan.world, planning.world(work, wanted)))
        if moved:
            raise StalePlanError(
                "\n  ".join(["the world has moved since this plan was saved:", *moved]), hint=_AGAIN
            )

    def admit(self, change_set: ChangeSet) -> None:
        """Refuse a change set that does what the plan does not say.

        Raises:
            StalePlanError: names the resources.

        """
        known = {one.logical_id: one.action for one in self._plan.changes}
        beside = unplanned(change_set.changes, known)
        if beside:
            raise StalePlanError(
                "\n  ".join(["CloudFormation would now do what the plan does not say:", *beside]),
                hint=_AGAIN,
            )

    def done(self, work: Workspace, version: str) -> None:
        """Note in the ledger that the plan was applied."""
        try:
            work.releases.applied(self._id, version)
        except (LockHeldError, ConflictError) as error:
            # Done it is; without the note, a second time is refused as a world that has moved.
            work.console.note(f"the ledger does not name this plan: {error.message}")

    def _refuse_second(self, work: Workspace) -> None:
        try:
            found = work.ledger.applied(self._id)
        except StackNotFoundError:
            return
        if found is not None:
            raise StalePlanError(
                f"already applied as version {found.version}, by {found.who} at {found.time}",
                hint="there is nothing left to do; `fnmodel plan` shows what is new",
            )
