"""An unpacked image in, an account of its cold start out: steps, imports, files.

The process is started as Lambda starts it, several times in turns:

    bare       the interpreter alone
    plain      the image's entry point to its first answer, with nothing measured inside
    imports    the same with the interpreter's own import timing, which costs time itself
    files      once, with a note of each file that is opened

Every figure is the median of the runs.
"""

import queue
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile

from fnmodel.errors import LocalError
from fnmodel.local.launch import FunctionVersion, RootFs, launch
from fnmodel.local.runtime_api import Invocation, RuntimeApi, Signal

_SECONDS = 60
"""The longest that one start may take."""
_OPENED = Path(__file__).with_name("opened.py")
_ROW = re.compile(rb"^import time: +(\d+) \| +(\d+) \| ( *)(\S+)$", re.MULTILINE)
_FOLDERS = ("opt/python/", "var/task/")
_CLIENT = "awslambdaric"


@dataclass(frozen=True)
class Import:
    """One import; in milliseconds, its own and with those that it asked for. `depth` 0 is a first.

    `init` says whether it came before the function asked for its first event.
    """

    name: str
    own: float
    whole: float
    depth: int
    init: bool


@dataclass(frozen=True)
class Group:
    """The imports of one package, its files that were opened, and their bytes."""

    name: str
    modules: int
    own: float
    files: int
    size: int


@dataclass(frozen=True)
class ColdStart:
    """How a cold start spends its time, in milliseconds.

    `init` is from the start of the process until it asks for an event, `first` the time of the
    first answer; `steps` add up to the init of a run with import timing, which is `timed_init`.
    """

    driver: str
    runs: int
    init: float
    first: float
    timed_init: float
    steps: Mapping[str, float]
    imports: tuple[Import, ...]
    files: Mapping[str, int]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The packages, by their own time; the standard library is one."""
        names = dict.fromkeys(_package(row.name) for row in self.imports)
        of_files = {path: _owner(path) for path in self.files}
        found = []
        for name in dict.fromkeys([*names, *of_files.values()]):
            rows = [row for row in self.imports if _package(row.name) == name]
            sizes = [self.files[path] for path, owner in of_files.items() if owner == name]
            own = sum(row.own for row in rows)
            found.append(Group(name, len(rows), own, len(sizes), sum(sizes)))
        return tuple(sorted(found, key=lambda group: (-group.own, group.name)))


def explain(
    rootfs: RootFs,
    event: bytes,
    *,
    name: str = "model",
    memory: int = 1769,
    runs: int = 5,
    progress: Callable[[str], None] = lambda _: None,
) -> ColdStart:
    """Start an image several times with one event (JSON) and say where the time goes.

    Raises:
        LocalError: it does not start here, or does not answer the event.

    """
    function = FunctionVersion(name, "1", "", memory=memory, timeout=_SECONDS)
    with tempfile.TemporaryDirectory(prefix="fnmodel-start-") as folder:
        starter = _Starter(rootfs, function, event, Path(folder))
        bare, plain, timed = [], [], []
        for run in range(runs + 1):  # the first only warms the page cache
            progress(f"start {run} of {runs}")
            marks = starter.bare(), starter.start(), starter.timed()
            if run:
                bare.append(marks[0])
                plain.append(marks[1])
                timed.append(marks[2])
        files = starter.files()
    rows = _medians([rows for _, rows in timed])
    timed_init = statistics.median(start.init for start, _ in timed)
    return ColdStart(
        driver=starter.driver,
        runs=runs,
        init=statistics.median(start.init for start in plain),
        first=statistics.median(start.first for start in plain),
        timed_init=timed_init,
        steps=_steps(statistics.median(bare), timed_init, rows),
        imports=rows,
        files=files,
    )


def imported(rootfs: RootFs, event: bytes, *, name: str = "model") -> list[str]:
    """Return what one start imports after its entry point, in order, until the first answer.

    Raises:
        LocalError: it does not start here, or does not answer the event.

    """
    function = FunctionVersion(name, "1", "", memory=1769, timeout=_SECONDS)
    with tempfile.TemporaryDirectory(prefix="fnmodel-start-") as folder:
        _, rows = _Starter(rootfs, function, event, Path(folder)).timed()
    names = [row.name for row in rows]
    return names[names.index("fnmodel.imports") + 1 :]


@dataclass(frozen=True)
class _Start:
    """Milliseconds until the function asked for an event, and from there to its answer.

    `said` is how much it had written to its log when it asked.
    """

    init: float
    first: float
    said: int


class _Starter:
    """Starts one image in one of the ways of this module."""

    def __init__(
        self, rootfs: RootFs, function: FunctionVersion, event: bytes, folder: Path
    ) -> None:
        self._rootfs, self._function, self._event = rootfs, function, event
        self._folder = folder
        self._log = folder / "log"
        self._tmp = folder / "tmp"
        self._tmp.mkdir()
        command, _ = launch(function, rootfs, "", self._tmp)
        self.driver = "bubblewrap" if Path(command[0]).name == "bwrap" else "process"

    def bare(self) -> float:
        """Return the milliseconds of an interpreter that does nothing."""
        command, env = self._command("", ["-c", "pass"], arguments=False)
        began = time.perf_counter()
        subprocess.run(
            command, env=env, cwd=self._tmp, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_SECONDS, check=True,
        )  # fmt: skip
        return (time.perf_counter() - began) * 1000

    def start(self, *more: str) -> _Start:
        """Start the entry point, with more options of the interpreter, to its first answer."""
        return self._run([*more, "-m"])

    def timed(self) -> tuple[_Start, list[Import]]:
        """Start it with the interpreter's import timing."""
        start = self.start("-X", "importtime")
        rows = []
        for found in _ROW.finditer(self._log.read_bytes()):
            own, whole, indent, name = found.groups()
            init = found.start() < start.said
            rows.append(
                Import(name.decode(), int(own) / 1000, int(whole) / 1000, len(indent) // 2, init)
            )
        return start, rows

    def files(self) -> dict[str, int]:
        """Return the bytes of each file that Python opens until the first answer, by its path."""
        copyfile(_OPENED, self._tmp / "opened.py")
        notes = self._tmp / "notes"
        seen = Path("/tmp") if self.driver == "bubblewrap" else self._tmp  # noqa: S108
        self._run([str(seen / "opened.py"), str(seen / "notes")])
        root = self._rootfs.root
        found: dict[str, int] = {}
        for line in dict.fromkeys(notes.read_text(errors="replace").splitlines()):
            path = Path(line)
            if self.driver == "bubblewrap":
                path = root / line.lstrip("/")
            if path.is_file() and not path.is_relative_to(self._folder):
                inside = path.is_relative_to(root)
                shown = str(path.relative_to(root)) if inside else line
                found[shown] = path.stat().st_size
        return found

    def _run(self, words: Sequence[str]) -> _Start:
        api = RuntimeApi()
        try:
            command, env = self._command(api.address, words)
            with self._log.open("wb") as log:
                began = time.perf_counter()
                process = subprocess.Popen(
                    command, env=env, cwd=self._tmp, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log,
                )  # fmt: skip
                try:
                    self._wait(api, process, "ready")
                    ready = time.perf_counter()
                    said = self._log.stat().st_size
                    offered = time.perf_counter()
                    deadline = int((time.time() + _SECONDS) * 1000)
                    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{self._function.name}"
                    api.offer(Invocation("explain", arn, deadline, self._event))
                    self._wait(api, process, "response")
                    answered = time.perf_counter()
                finally:
                    process.kill()
                    process.wait()
        finally:
            api.close()
        return _Start((ready - began) * 1000, (answered - offered) * 1000, said)

    def _wait(self, api: RuntimeApi, process: "subprocess.Popen[bytes]", kind: str) -> None:
        deadline = time.monotonic() + _SECONDS
        signal: Signal | None = None
        while signal is None and process.poll() is None and time.monotonic() < deadline:
            try:
                signal = api.signals.get(timeout=0.05)
            except queue.Empty:
                continue
        if signal is None or signal.kind != kind:
            said = signal.payload.decode(errors="replace") if signal else ""
            said = said or self._log.read_text(errors="replace").strip()
            raise LocalError(
                f"the image does not get to its first answer here: {said[-600:] or 'no words'}",
                hint="`fnmodel deploy --local` runs the same image, and `fnmodel logs` shows more",
            )

    def _command(
        self, address: str, words: Sequence[str], *, arguments: bool = True
    ) -> tuple[list[str], dict[str, str]]:
        """Return the sandbox's command with other words after the interpreter's options."""
        command, env = launch(self._function, self._rootfs, address, self._tmp)
        at = command.index("-S") + 1
        # Next is `-m`, or the script that stands for it outside of bubblewrap.
        rest = command[at + 1 :] if arguments else []
        options = [] if "-P" in command else ["-P"]
        return [*command[:at], *options, *words, *rest], env


def _medians(runs: Sequence[Sequence[Import]]) -> tuple[Import, ...]:
    """Return the rows of the last run with the medians of all runs; a name may come twice."""
    own: dict[tuple[str, int], list[float]] = {}
    whole: dict[tuple[str, int], list[float]] = {}
    for rows in runs:
        for key, row in _numbered(rows):
            own.setdefault(key, []).append(row.own)
            whole.setdefault(key, []).append(row.whole)
    return tuple(
        replace(row, own=statistics.median(own[key]), whole=statistics.median(whole[key]))
        for key, row in _numbered(runs[-1])
    )


def _numbered(rows: Sequence[Import]) -> Iterator[tuple[tuple[str, int], Import]]:
    times: Counter[str] = Counter()
    for row in rows:
        times[row.name] += 1
        yield (row.name, times[row.name]), row


def _steps(bare: float, init: float, rows: Sequence[Import]) -> dict[str, float]:
    """Divide an init with import timing into steps; its imports are those of depth 0."""
    firsts = [row for row in rows if row.init and row.depth == 0]
    names = [row.name for row in firsts]
    runpy = names.index("runpy") + 1 if "runpy" in names else 0
    client = [at for at, name in enumerate(names) if name.partition(".")[0] == _CLIENT]
    begin, end = (client[0], client[-1] + 1) if client else (runpy, runpy)
    steps = {
        "interpreter": bare + sum(row.whole for row in firsts[:runpy] if row.name == "runpy"),
        "entry point": sum(row.whole for row in firsts[runpy:begin]),
        "runtime client": sum(row.whole for row in firsts[begin:end]),
        "imports": sum(row.whole for row in firsts[end:]),
    }
    return {**steps, "model": max(init - sum(steps.values()), 0.0)}


def _package(name: str) -> str:
    top = name.partition(".")[0]
    return "standard library" if top in sys.stdlib_module_names else top


def _owner(path: str) -> str:
    """Return the package that a file of the image, or of its Python, belongs to."""
    for folder in _FOLDERS:
        if path.startswith(folder):
            first = path.removeprefix(folder).partition("/")[0]
            return "bundles" if first == "imports.bundle" else first.partition(".")[0]
    if path.startswith("opt/ml/"):
        return "the model's files"
    return "bundles" if path.endswith("/imports.bundle") else "standard library"
