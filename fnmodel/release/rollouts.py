"""The rollout of one alias in the ledger: begun, looked at, and steered by whoever is there."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Protocol

from fnmodel.errors import AwsError, ConflictError, LockHeldError, ReleaseError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.analysis import Readings, none_yet
from fnmodel.release.clock import Clock
from fnmodel.release.holder import this_process
from fnmodel.release.ledger import Action, Lease, Ledger, Record
from fnmodel.release.move import last_move, move, release_id, repair
from fnmodel.release.plan import Plan
from fnmodel.release.tick import SHADOW, Phase, Rollout, Ticked, approve, go_back, tick

if TYPE_CHECKING:
    from fnmodel.distribution import Shift
    from fnmodel.model import Tolerance
    from fnmodel.release.publish import Version

_LEASE = 60.0
"""Seconds after which the lease of a driver that was killed is anybody's."""
_MOVES = 5
"""Decisions that follow from one look at most: a step and what comes after it, or a way back."""


class Meter(Protocol):
    """Measures what the two versions of a rollout do."""

    def read(self, rollout: Rollout, now: float) -> Readings:
        """Return what was measured until now, epoch seconds."""


class Rollouts:
    """The rollouts of one alias.

    `clock` gives epoch seconds. `patience` is how long to wait for the lease of another driver,
    which holds it for moments.
    """

    def __init__(
        self,
        router: AliasRouter,
        ledger: Ledger,
        meter: Meter,
        controller: Clock,
        *,
        who: str | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
        patience: float = 20.0,
    ) -> None:
        self._router = router
        self._ledger = ledger
        self._meter = meter
        self._controller = controller
        self._who = who or this_process()
        self._clock = clock
        self._sleep = sleep
        # It only orders what was measured without an order.
        self._random = random or Random()  # noqa: S311
        self._patience = patience

    def current(self) -> Rollout | None:
        """Return the newest rollout, ended or not; None when there was none."""
        return _parsed(self._ledger.rollout())

    def require_idle(self, digest: str) -> None:
        """Refuse to begin a deploy of another image while a rollout goes on; reads only.

        Raises:
            ReleaseError: names the candidate and where it stands.

        """
        found = self.current()
        if found is not None and found.active and found.digest != digest:
            raise _busy(found)

    def begin(
        self,
        plan: Plan,
        candidate: "Version",
        stable: "Version",
        shift: "Shift | None" = None,
        tolerance: "Tolerance | None" = None,
    ) -> Rollout:
        """Begin the rollout of a version that has passed its gate, and take its first step.

        Begun before and killed, it goes on; a rollout of this version that has ended stays ended.
        With a `tolerance` both versions hold the same model, and are to answer alike.

        Raises:
            LockHeldError: someone else is releasing.
            ReleaseError: another rollout is under way, or the alias does not point to `stable`.

        """
        rollout = Rollout(
            id=release_id(candidate.number, candidate.digest),
            plan=plan,
            stable=stable.number,
            candidate=candidate.number,
            digest=candidate.digest,
            stable_digest=stable.digest,
            started=self._clock(),
            evidence=none_yet(plan.limits, shift, plan.replays, tolerance),
            step=SHADOW if plan.replays.shadow else 0,
        )
        readings = self._meter.read(rollout, rollout.started)
        with self._lease() as lease:
            found = self.current()
            if found is not None and found.candidate == candidate.number:
                return self._drive(lease, found, None)
            if found is not None and found.active:
                raise _busy(found)
            state = self._router.read()
            if not state.serves_as(AliasState(stable.number)):
                raise ReleaseError(
                    f"the alias does not point to version {stable.number} alone",
                    hint="`fnmodel status` shows where requests go",
                )
            # First the clock: whoever is killed after the next line leaves a driver behind.
            self._controller.start()
            self._keep(lease, rollout)
            return self._drive(lease, rollout, readings)

    def tick(self) -> Rollout | None:
        """Look once, and do what follows; return the rollout, None when there never was one.

        Measuring may take longer than a lease lasts, so it comes before; where another driver has
        looked meanwhile, what was measured here is dropped.

        Raises:
            LockHeldError: someone else drives it at this moment.
            ConflictError: this driver was taken for dead, and another one drives it.

        """
        text = self._ledger.rollout()
        found = _parsed(text)
        now = self._clock()
        readings = self._read(found, now) if found is not None and found.active else None
        with self._lease() as lease:
            if self._ledger.rollout() != text:
                return self.current()
            if found is None or not found.active:
                # Whoever ended it may have been killed before this.
                self._controller.stop()
                return found
            return self._drive(lease, found, readings)

    def _read(self, rollout: Rollout, now: float) -> Readings | None:
        try:
            return self._meter.read(rollout, now)
        except AwsError:
            if now < rollout.deadline:
                raise
            return None  # the way back at the deadline needs no figures

    def pause(self) -> Rollout:
        """Take no further step; a candidate that fails, or the deadline, still goes back."""
        return self._steer(lambda rollout: replace(rollout, paused=True))

    def resume(self) -> Rollout:
        """Go on."""
        return self._steer(lambda rollout: replace(rollout, paused=False))

    def approve(self) -> Rollout:
        """Agree to the next step.

        Raises:
            ReleaseError: nothing waits for it.

        """

        def agree(rollout: Rollout) -> Rollout:
            if rollout.phase not in {Phase.approval, Phase.inconclusive}:
                if rollout.approved >= max(rollout.step, 0):
                    return rollout  # said before, by a command that did not hear the answer
                raise ReleaseError(
                    f"the rollout is {rollout.phase}; nothing waits for approval",
                    hint="`fnmodel rollout status` shows where it stands",
                )
            return approve(rollout)

        return self._steer(agree)

    def abort(self) -> Rollout:
        """Take the candidate's requests away, and end; repeated, this changes nothing."""
        return self._steer(
            lambda rollout: go_back(rollout, f"aborted by {self._who}"), ended=Phase.rolled_back
        )

    def _steer(self, change: Callable[[Rollout], Rollout], ended: Phase | None = None) -> Rollout:
        """Change the rollout by a person's word, then look at it; one that has `ended` stays so.

        Raises:
            ReleaseError: no rollout goes on.
            LockHeldError: someone else is releasing.

        """
        with self._lease() as lease:
            found = self.current()
            if found is not None and found.phase is ended:
                self._controller.stop()
                return found
            if found is None or not found.active:
                raise ReleaseError(
                    "no rollout is under way", hint="`fnmodel history` shows what was released"
                )
            changed = change(found)
            self._keep(lease, changed)
            return self._drive(lease, changed, None)

    def _drive(self, lease: Lease, rollout: Rollout, readings: Readings | None) -> Rollout:
        """Take all the decisions that follow from what was measured; None where nothing was."""
        if not rollout.active:
            self._controller.stop()
            return rollout
        if rollout.phase in {Phase.moving, Phase.returning}:
            # Whoever wrote that may have moved the alias, and died before it said so.
            repair(lease, last_move(self._ledger.records()), self._router.read())
        now = self._clock()
        for _ in range(_MOVES):
            state = self._router.read()
            ticked = tick(rollout, state, readings, now, self._random)
            if ticked.rollout != rollout:
                self._keep(lease, ticked.rollout)
            rollout = ticked.rollout
            if ticked.move is None:
                break
            self._act(lease, ticked, state)
            readings = None  # it is counted
        if not rollout.active:
            self._controller.stop()
        return rollout

    def _act(self, lease: Lease, ticked: Ticked, state: AliasState) -> None:
        rollout, target = ticked.rollout, ticked.move
        assert target is not None
        record = _record(rollout, target, state)
        try:
            move(lease, self._router, record, state, target)
        except ConflictError:
            # Someone was faster; the next look at the alias says what that means.
            return

    def _keep(self, lease: Lease, rollout: Rollout) -> None:
        lease.keep_rollout(json.dumps(rollout.to_json(), separators=(",", ":")))

    @contextmanager
    def _lease(self) -> Iterator[Lease]:
        with ExitStack() as stack:
            yield self._enter(stack)

    def _enter(self, stack: ExitStack) -> Lease:
        """Take the ledger's lease; another driver that holds it is waited for a little."""
        until = self._clock() + self._patience
        while True:
            try:
                return stack.enter_context(self._ledger.lease(self._who, _LEASE))
            except LockHeldError:
                if self._clock() >= until:
                    raise
                self._sleep(0.5)


def _parsed(text: str | None) -> Rollout | None:
    return Rollout.from_json(json.loads(text)) if text else None


def _busy(rollout: Rollout) -> ReleaseError:
    return ReleaseError(
        f"a rollout is under way: version {rollout.candidate}, {rollout.phase}",
        hint="wait for its end (`fnmodel rollout status --watch`), or `fnmodel rollout abort`",
    )


def _record(rollout: Rollout, target: AliasState, state: AliasState) -> Record:
    action: Action = "shift"
    number, digest = rollout.candidate, rollout.digest
    if rollout.phase is Phase.returning:
        action, number, digest = "rollback", rollout.stable, rollout.stable_digest
    elif target.version == rollout.candidate:
        action = "promote"
    weights: Mapping[str, float] = target.weights
    return Record(
        release=rollout.id,
        action=action,
        version=number,
        digest=digest,
        result="started",
        stable=target.version,
        weights=weights,
        previous=state.version,
        reason=rollout.why,
    )
