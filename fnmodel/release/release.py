"""The recipe of a release and of every move after it.

    publish --> gate --> record --> traffic

The alias is the truth about what serves; it is read first, and moved by one call from exactly the
state that was read. Each step may be repeated, and the run may be killed between any two calls: the
same command then goes on where it was.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fnmodel.errors import ConflictError, GateError, ReleaseError
from fnmodel.release import rollout
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.chain import Head
from fnmodel.release.garbage import Decision, decide
from fnmodel.release.gate import GateResult
from fnmodel.release.holder import this_process
from fnmodel.release.ledger import Action, Holder, Lease, Ledger, Record, Result
from fnmodel.release.move import describes, last_move, move, release_id, repair
from fnmodel.release.publish import Publisher, Version

if TYPE_CHECKING:
    from fnmodel.release.tick import Rollout

Gate = Callable[[str], GateResult]
"""Judges one version: returns what was compared, or raises GateError."""


@dataclass(frozen=True)
class Released:
    """A version that has passed its gate, and the alias afterwards.

    `gate` is None when the gate had been passed in an earlier run.
    """

    version: Version
    state: AliasState
    gate: GateResult | None

    @property
    def serving(self) -> bool:
        """Whether it is the stable version; otherwise it waits as the candidate."""
        return self.state.version == self.version.number


class Releases:
    """The releases of one function through one alias.

    `who` is the name in the ledger; by default it names user, host and process.
    """

    def __init__(
        self,
        publisher: Publisher,
        router: AliasRouter,
        ledger: Ledger,
        *,
        who: str | None = None,
    ) -> None:
        self._publisher = publisher
        self._router = router
        self._ledger = ledger
        self._who = who or this_process()

    def state(self) -> AliasState:
        """Return where requests go now."""
        return self._router.read()

    def is_current(self, digest: str) -> bool:
        """Whether `release(digest)` would change nothing; reads only.

        The function runs that image, it is published with the settings it has, and the ledger's
        newest deploy is of that version.
        """
        version = self._publisher.published()
        if version is None or version.digest != digest:
            return False
        deployed = _deployed(tuple(self._ledger.records()))
        return deployed is not None and deployed.version == version.number

    def is_unsaid(self) -> bool:
        """Whether a killed run owes the ledger the result of its move; reads only."""
        last = last_move(self._ledger.records())
        return last is not None and last.result == "started"

    def require_idle(self, digest: str) -> None:
        """Refuse to begin a deploy of another image while a rollout is under way; reads only.

        Raises:
            ReleaseError: names the candidate that has traffic.

        """
        state = self._router.read()
        if state.candidate and self._publisher.ready(state.candidate).digest != digest:
            raise _busy(state)

    def release(
        self, digest: str, gate: Gate, *, evidence: str = "", after: Head | None = None
    ) -> Released:
        """Publish what the function is now, judge it, and give it traffic if nothing serves yet.

        `evidence` is what was found out about it before, for the ledger. `after` is where the
        ledger ended when this was decided; nothing is done when it has gone on since.

        The first version that passes gets all requests. A later one waits as the candidate,
        without requests, until `shift` or `promote`.

        Raises:
            GateError: it failed; traffic is as before.
            LockHeldError: someone else is releasing.
            ConflictError: someone else deployed or moved the alias meanwhile.
            ReleaseError: Lambda cannot load it, or another candidate has traffic.

        """
        with self._turn() as (lease, records):
            if after is not None and lease.head != after:
                raise ConflictError(
                    f"{self._publisher.function}: {lease.head.count - after.count} entries were "
                    "added to the ledger since this release was planned",
                    hint="look at `fnmodel history`, then plan again",
                )
            version = self._publisher.publish(digest)
            state = self._router.read()
            if state.candidate not in {None, version.number}:
                raise _busy(state)
            result = None
            if not _passed(records, version.number):
                result = _judge(lease, version, gate, evidence)
            if state.version == version.number or _passed(records, state.version):
                target = state
            else:
                # What serves was never proven: the version that the stack was made with.
                target = rollout.promote(state, version.number)
            deployed = _deployed(records)
            if deployed is None or deployed.version != version.number:
                state = self._move(lease, "deploy", version, state, target, previous=None)
            return Released(version, state, result)

    def proof(self, version: str) -> str:
        """Return what the ledger says of the gate that a version has passed; reads only.

        Raises:
            ReleaseError: it has passed none.

        """
        return _require_passed(self._ledger.records(), version).reason

    def shift(self, percent: float, version: str | None = None) -> AliasState:
        """Give the candidate `percent` of the requests, 0 to 100; 100 makes it the stable version.

        Without `version` the candidate is the one that has traffic, else the newest deploy.

        Raises:
            ReleaseError: there is no such candidate, it passed no gate, or it was rolled back.
            LockHeldError: someone else is releasing.
            ConflictError: the alias was moved meanwhile.

        """
        with self._turn() as (lease, records):
            state = self._router.read()
            number = version or _candidate(state, records)
            target = rollout.shift(state, number, percent)
            if number != state.version and percent > 0:
                _require_passed(records, number)
            action: Action = "promote" if percent == 100 else "shift"
            ready = self._publisher.ready(number)
            if target.serves_as(state):
                self._repair(lease, records, state)
                return state
            return self._move(lease, action, ready, state, target, previous=state.version)

    def promote(self, version: str | None = None) -> AliasState:
        """Give the candidate all requests; repeated, this changes nothing.

        Raises:
            ReleaseError, LockHeldError, ConflictError: as `shift`.

        """
        return self.shift(100, version)

    def rollback(self) -> AliasState:
        """Take the candidate's requests away, or without one make the version before stable again.

        One call to Lambda; no build, no stack update.

        Raises:
            ReleaseError: there is nothing to go back to, or it can no longer be loaded.
            LockHeldError: someone else is releasing.
            ConflictError: the alias was moved meanwhile.

        """
        with self._turn() as (lease, records):
            state = self._router.read()
            if _is_rolled_back(records, state, lease):
                self._repair(lease, records, state)
                return state
            target = rollout.rollback(state, _previous(records, state.version))
            return self._go_back(lease, state, target)

    def abort(self) -> AliasState:
        """Take the candidate's requests away; without a candidate nothing is changed.

        Raises:
            LockHeldError: someone else is releasing.
            ConflictError: the alias was moved meanwhile.

        """
        with self._turn() as (lease, records):
            state = self._router.read()
            if state.candidate is None:
                self._repair(lease, records, state)
                return state
            return self._go_back(lease, state, rollout.rollback(state, None))

    def unlock(self, id_: str, reason: str = "") -> Holder:
        """Break the lease that has this id; return who held it.

        Its holder, should it live, can neither write to the ledger any more nor move the alias
        from a state that it has read: the alias stays where it points and gets a new revision.

        Raises:
            UsageError, LockHeldError, ConflictError: as `Ledger.unlock`.

        """
        holder, lease = self._ledger.unlock(id_, self._who, reason)
        try:
            state = self._router.read()
            try:
                self._router.move(state, state)
            except ConflictError:
                # The old holder's last move; after it, its own record is refused.
                state = self._router.read()
                self._router.move(state, state)
        finally:
            lease.end()
        return holder

    def garbage(self, rollout: "Rollout | None", keep: int) -> Decision:
        """Return which versions nothing can reach; reads only. `rollout` is the newest one."""
        numbers = self._publisher.numbers()
        return decide(numbers, self._publisher.aliases(), rollout, self._ledger.records(), keep)

    def clean(self, rollout: "Callable[[], Rollout | None]", keep: int) -> Decision:
        """Delete the versions that nothing can reach, and keep the ways back from falling asleep.

        It is done with the lease in hand, so that no version is deleted that a release is about to
        use. `rollout` reads the newest one.

        Raises:
            LockHeldError: someone is releasing.
            ConflictError: a version was taken into use by hand.

        """
        with self._turn():
            decision = self.garbage(rollout(), keep)
            for number in decision.removed:
                self._publisher.remove(number)
        for number in decision.idle:
            self._publisher.touch(number)
        return decision

    @contextmanager
    def _turn(self) -> Iterator[tuple[Lease, tuple[Record, ...]]]:
        with self._ledger.lease(self._who) as lease:
            yield lease, tuple(self._ledger.records())

    def applied(self, plan: str, version: str) -> None:
        """Note in the ledger that a saved plan was applied to the end.

        Raises:
            LockHeldError: someone else is releasing.

        """
        with self._ledger.lease(self._who) as lease:
            lease.keep_applied(plan, version)

    def _go_back(self, lease: Lease, state: AliasState, target: AliasState) -> AliasState:
        # Lambda would accept a version whose image is gone, and answer nothing but errors.
        version = self._publisher.awake(target.version)
        return self._move(lease, "rollback", version, state, target, previous=state.version)

    def _move(
        self,
        lease: Lease,
        action: Action,
        version: Version,
        state: AliasState,
        target: AliasState,
        *,
        previous: str | None,
    ) -> AliasState:
        record = Record(
            release=release_id(version.number, version.digest),
            action=action,
            version=version.number,
            digest=version.digest,
            result="started",
            stable=target.version,
            weights=target.weights,
            previous=previous,
        )
        return move(lease, self._router, record, state, target)

    def _repair(self, lease: Lease, records: Sequence[Record], state: AliasState) -> None:
        repair(lease, last_move(records), state)


def _judge(lease: Lease, version: Version, gate: Gate, evidence: str) -> GateResult:
    def record(result: Result, reason: str) -> Record:
        return Record(
            release=release_id(version.number, version.digest),
            action="gate",
            version=version.number,
            digest=version.digest,
            result=result,
            reason=reason,
        )

    try:
        outcome = gate(version.number)
    except GateError as error:
        lease.append(record("failed", error.message))
        raise
    found = f"{outcome.checked} values as proven"
    lease.append(record("passed", f"{found}; {evidence}" if evidence else found))
    return outcome


def _busy(state: AliasState) -> ReleaseError:
    assert state.candidate is not None
    share = state.weights[state.candidate] * 100
    return ReleaseError(
        f"a rollout is under way: version {state.candidate} has {share:g} % of the requests",
        hint="finish it first: `fnmodel promote` or `fnmodel rollback`",
    )


def _passed(records: Iterable[Record], version: str) -> Record | None:
    """Return the newest record of a gate that a version has passed."""
    passed = (r for r in records if r.action == "gate" and r.result == "passed")
    return next((r for r in passed if r.version == version), None)


def _require_passed(records: Iterable[Record], version: str) -> Record:
    found = _passed(records, version)
    if found is None:
        raise ReleaseError(
            f"version {version} has not passed its gate, so it gets no requests",
            hint="run `fnmodel deploy`: it judges and releases what is there",
        )
    return found


def _deployed(records: Sequence[Record]) -> Record | None:
    return next((r for r in records if r.action == "deploy" and r.result == "done"), None)


def _candidate(state: AliasState, records: Sequence[Record]) -> str:
    """Return the version that a move without a named one is about."""
    if state.candidate is not None:
        return state.candidate
    for record in records:
        if record.result != "done":
            continue
        if record.action == "rollback":
            raise ReleaseError(
                "the newest deploy was rolled back",
                hint="deploy a new image, or name the version to try it again",
            )
        if record.action == "deploy":
            return record.version
    raise ReleaseError("nothing was released yet", hint="run `fnmodel deploy`")


def _previous(records: Sequence[Record], stable: str) -> str | None:
    """Return the version that was stable before `stable` became so, from the ledger."""
    for record in records:
        if record.action == "rollback" or record.stable != stable:
            continue
        if record.previous not in {None, stable}:
            return record.previous
    return None


def _is_rolled_back(records: Sequence[Record], state: AliasState, lease: Lease) -> bool:
    """Whether the last run rolled back to this state without living to say so."""
    last = last_move(records)
    if last is None or last.action != "rollback" or not describes(last, state):
        return False
    if last.result == "started":
        return True
    # Each lease that was broken since took one fence.
    broken = sum(r.action == "unlock" and r.fence > last.fence for r in records)
    unseen = (lease.interrupted or broken > 0) and last.fence == lease.fence - 1 - broken
    return last.result == "done" and unseen
