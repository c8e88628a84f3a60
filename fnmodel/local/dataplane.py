"""Invocations in, outcomes out: one pool of sandboxes a published version.

A sandbox runs one request at a time. A request takes an idle one, else starts another, up to the
limit; above it, Lambda's own throttle is the answer. Idle sandboxes end after a while.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

from fnmodel.errors import FnmodelError, LocalError
from fnmodel.local.launch import FunctionVersion, RootFs
from fnmodel.local.runtime_api import MAX_PAYLOAD
from fnmodel.local.sandbox import Captured, Outcome, Sandbox, report

ImageSource = Callable[[str], RootFs]
"""Takes an image reference by digest, as a function's ImageUri is, and returns it unpacked."""

_Key = tuple[str, str, str]

_COLLECT = 1.0
"""Seconds between two looks for captured rows, which come after their response."""


class ThrottledInvokeError(LocalError):
    """All sandboxes that the function may have are busy."""


class DataPlane:
    """Runs invocations of image functions. Thread-safe; one for each embedded cloud."""

    def __init__(
        self,
        images: ImageSource,
        folder: Path,
        *,
        extra_env: Mapping[str, str],
        captured: Captured = lambda function, lines: None,  # noqa: ARG005
        max_concurrency: int = 10,
        idle_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images = images
        self._folder = folder
        self._extra_env = extra_env
        self._captured = captured
        self._max = max_concurrency
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: dict[_Key, list[Sandbox]] = {}
        self._busy: dict[str, int] = {}
        self._unpacking: dict[str, Future[RootFs]] = {}
        self._closed = False
        # One thread for life: Linux ends a child when the thread that started it ends.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawn")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._wake = threading.Event()
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._reaper.start()

    def invoke(
        self, function: FunctionVersion, function_arn: str, event: bytes, request_id: str
    ) -> Outcome:
        """Run one event and return what came of it; blocks until then.

        Raises:
            ThrottledInvokeError: the function already runs as many requests as it may.

        """
        if len(event) > MAX_PAYLOAD:
            return _refused(
                function,
                request_id,
                "RequestTooLargeException",
                f"{len(event)} byte payload is too large for the RequestResponse invocation type "
                f"(limit {MAX_PAYLOAD} bytes)",
            )
        with self._lock:
            if self._busy.get(function.name, 0) >= self._max:
                raise ThrottledInvokeError(
                    f"{function.name} runs {self._max} requests at once, and no more"
                )
            self._busy[function.name] = self._busy.get(function.name, 0) + 1
        try:
            sandbox = self._take(function)
            outcome = sandbox.invoke(request_id, function_arn, event)
            if outcome.reusable:
                self._give_back(sandbox)
            else:
                sandbox.close()
        except FnmodelError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return _refused(function, request_id, "Runtime.InvalidEntrypoint", f"{error}{hint}")
        else:
            return outcome
        finally:
            with self._lock:
                self._busy[function.name] -= 1

    def sandboxes(self) -> list[tuple[str, str, int]]:
        """Return function, version and process id of each idle sandbox."""
        with self._lock:
            return [(key[0], key[1], s.pid) for key, pool in self._idle.items() for s in pool]

    def collect(self) -> None:
        """Hand on the rows that idle sandboxes have captured."""
        with self._lock:
            idle = [sandbox for pool in self._idle.values() for sandbox in pool]
        for sandbox in idle:
            sandbox.collect()

    def close(self) -> None:
        """End every sandbox."""
        with self._lock:
            self._closed = True
            idle = [sandbox for pool in self._idle.values() for sandbox in pool]
            self._idle.clear()
        self._wake.set()
        for sandbox in idle:
            sandbox.close()
        self._spawner.shutdown(wait=False, cancel_futures=True)

    def _take(self, function: FunctionVersion) -> Sandbox:
        while True:
            with self._lock:
                pool = self._idle.get(_key(function))
                sandbox = pool.pop() if pool else None
            if sandbox is None:
                break
            if sandbox.alive:
                return sandbox
            sandbox.close()
        return Sandbox(
            function,
            self._rootfs(function.image_uri),
            self._folder / uuid.uuid4().hex,
            extra_env=self._extra_env,
            spawn=self._spawn,
            captured=self._captured,
        )

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(_key(sandbox.function), []).append(sandbox)
                return
        sandbox.close()

    def _spawn(self, start: Callable[[], "Popen[bytes]"]) -> "Popen[bytes]":
        return self._spawner.submit(start).result()

    def _rootfs(self, image_uri: str) -> RootFs:
        """Unpack an image once, however many requests ask for it at the same time."""
        with self._lock:
            future = self._unpacking.get(image_uri)
            mine = future is None
            if future is None:
                future = self._unpacking[image_uri] = Future()
        if mine:
            try:
                future.set_result(self._images(image_uri))
            except BaseException as error:
                with self._lock:
                    del self._unpacking[image_uri]
                future.set_exception(error)
                raise
        return future.result()

    def _reap(self) -> None:
        while not self._wake.wait(min(self._idle_seconds, _COLLECT)):
            oldest = self._clock() - self._idle_seconds
            self.collect()
            with self._lock:
                ended = [s for pool in self._idle.values() for s in pool if s.last_used < oldest]
                for pool in self._idle.values():
                    pool[:] = [sandbox for sandbox in pool if sandbox.last_used >= oldest]
            for sandbox in ended:
                sandbox.close()


def _key(function: FunctionVersion) -> _Key:
    # $LATEST changes under its name; a published version never does.
    settings = (
        function.memory, function.timeout, function.snapstart, sorted(function.environment.items())
    )  # fmt: skip
    return function.name, function.version, f"{function.image_uri} {settings} {function.command}"


def _refused(function: FunctionVersion, request_id: str, kind: str, message: str) -> Outcome:
    import orjson

    payload = orjson.dumps({"errorType": kind, "errorMessage": message})
    log = report(request_id, function, [f"{kind}: {message}"], 0.0, None, 0)
    return Outcome(payload, True, log, 0.0, None, 0, reusable=False)
