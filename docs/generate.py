"""Writes what the documentation says of the code: commands, keys, errors, the JSON Schema.

python docs/generate.py            write the files
python docs/generate.py --check    write nothing; exit 1 and name the files that are out of date
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fnmodel import config
from fnmodel.cli import saved
from fnmodel.cli.app import app
from fnmodel.cli.estimate import Function, Known, Spread, estimate, span
from fnmodel.errors import by_code
from fnmodel.local.differences import DIFFERENCES
from fnmodel.provision.alarms import SWITCHED
from fnmodel.provision.template import read
from fnmodel.shipped import shipped

DOCS = Path(__file__).resolve().parent
NOTICE = "<!-- Made by docs/generate.py; do not edit. -->"
KEYS, DIFFERENT, ALARMS, FAR = "keys", "differences", "alarms", "simulation"
"""Parts of pages that are made here; comments mark where they begin and end."""

# What every command has in common is explained once.
COMMON = ("--project", "--stage", "--local", "--profile", "--region", "--output")

_COMMANDS = """\
A command line goes in; data comes out on standard output, everything else on standard error.

`fnmodel COMMAND --help` says the same as this page. `fnmodel --version` prints the version,
`fnmodel --install-completion` sets up completion for your shell. `--output json` is for programs:
one JSON value, and nothing else on standard output. Exit codes are in [errors.md](errors.md); how
the parts fit together is in [architecture.md](architecture.md).
"""

_ERRORS = """\
Something goes wrong in a command; a message, a hint, a code and an exit code come out.

    error: what is wrong, and where
    hint: what to do next
    code: FNM-… (`fnmodel explain` says what is said below)

An error without a code is a bug of fnmodel's: it says so, and names a file below
`FNMODEL_HOME/crashes` that holds the traceback.
"""

EXIT_CODES = {
    0: "done",
    1: "failed; standard error says why",
    2: "the command, its options or `fnmodel.yaml` are wrong; nothing was done",
    3: "`plan --detailed-exitcode` found changes",
    4: "a gate refused: parity, or a version's probe; or a rollout was rolled back; or two stages "
    "differ",
    5: "someone else is releasing, or moved the alias; nothing was overwritten",
    6: "no AWS credentials, expired ones, or another account's; or the endpoint does not let this "
    "caller in",
    7: "AWS throttles, or a quota is used up",
    130: "stopped by a signal; the same command goes on",
}

SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("", config.Project, "Top level"),
    ("models.NAME.", config.ModelConfig, "`models`: several in one image"),
    ("parity.", config.Parity, "`parity`: the budget for differences"),
    ("slim.", config.SlimConfig, "`slim`: how the model is converted and made small"),
    ("gates.", config.Gates, "`gates`: what a model must keep before it is packed"),
    ("gates.metrics[].", config.MetricGate, "`gates.metrics`: a list of metrics"),
    (
        "gates.metrics[].champion.",
        config.ChampionConfig,
        "`champion`: how a metric stands to the version that serves",
    ),
    ("gates.fairness[].", config.FairnessGate, "`gates.fairness`: a list of gaps between groups"),
    ("image.", config.ImageConfig, "`image`: the container image"),
    ("signing.", config.SigningConfig, "`signing`: who signs images, and whom a deploy trusts"),
    ("function.", config.FunctionConfig, "`function`: the Lambda function"),
    ("capture.", config.CaptureConfig, "`capture`: which rows and predictions are kept"),
    ("audit.", config.AuditConfig, "`audit`: locked copies of the release ledger"),
    ("batch[].", config.BatchJob, "`batch`: a list of scoring jobs"),
    ("fanout.", config.FanoutConfig, "`fanout`: large batch runs over many invocations"),
    ("jobs.", config.JobsConfig, "`jobs`: asynchronous requests over HTTP"),
    ("rollout.", config.RolloutConfig, "`rollout`: how a new version gets its requests"),
    ("rollout.steps[].", config.RolloutStep, "`rollout.steps`: a list of steps"),
    ("rollout.analysis.", config.Analysis, "`rollout.analysis`: what a candidate must not do"),
    (
        "rollout.analysis.replay.",
        config.Replay,
        "`rollout.analysis.replay`: captured requests once more",
    ),
    ("alarms.", config.AlarmsConfig, "`alarms`: when a stage rings"),
    ("stack.", config.StackConfig, "`stack`: what everything in the stack has in common"),
    ("watch.", config.WatchConfig, "`watch`: what is said of captured rows each hour, and to whom"),
    ("watch.webhook.", config.WebhookConfig, "`watch.webhook`: a URL that alerts are posted to"),
    ("watch.retrain.", config.RetrainConfig, "`watch.retrain`: when drift starts the pipeline"),
    ("pipeline[].", config.PipelineStep, "`pipeline`: a list of steps"),
    ("cors.", config.CorsConfig, "`cors`: web pages that may call the endpoint"),
    ("card.", config.CardConfig, "`card`: what only people know of a model"),
    ("stages.NAME.", config.Stage, "`stages`: what a stage has of its own"),
    ("stages.NAME.access.", config.Access, "`access`: who may call the endpoint of a stage"),
    ("stages.NAME.access.jwt.", config.JwtAccess, "`access.jwt`: the tokens that are accepted"),
    ("stages.NAME.domain.", config.DomainConfig, "`domain`: a name of your own for the endpoint"),
)


def pages() -> dict[Path, str]:
    """Return the content of every generated file by its path."""
    configuration, local, stack, batch = (
        DOCS / f"{name}.md" for name in ("configuration", "local", "stack", "batch")
    )
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **config.json_schema()}
    plan = {"$schema": "https://json-schema.org/draft/2020-12/schema", **saved.json_schema()}
    return {
        DOCS / "commands.md": commands(),
        DOCS / "errors.md": errors(),
        configuration: _with(configuration, KEYS, keys()),
        local: _with(local, DIFFERENT, differences()),
        stack: _with(stack, ALARMS, alarms()),
        batch: _with(batch, FAR, simulation()),
        DOCS / "fnmodel.schema.json": json.dumps(schema, indent=2) + "\n",
        DOCS / "plan.schema.json": json.dumps(plan, indent=2) + "\n",
    }


def _with(page: Path, part: str, text: str) -> str:
    """Return a page with this text as one of its parts."""
    begin, end = f"<!-- {part}: made by docs/generate.py -->", f"<!-- {part} end -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def differences() -> str:
    """Return the table of what is another thing in the embedded cloud than in AWS."""
    rows = [[one.topic, one.here, one.aws] for one in DIFFERENCES]
    return _table(["what", "here", "in AWS"], rows)


def alarms() -> str:
    """Return the table of a stage's alarms: what switches each, and what it asks for."""
    resources = read(shipped("template.yaml").read_text("utf-8"))["Resources"]
    rows = []
    for key, names in SWITCHED.items():
        field = config.AlarmsConfig.model_fields[key]
        for name in names:
            properties = resources[name]["Properties"]
            reason = (field.description or "").partition(": ")[2]
            rows.append(
                [f"`alarms.{key}`", _default(field), f"`{name}`", _metrics(properties), reason]
            )
    return _table(["key", "default", "alarm", "asks for", "why"], rows)


def _metrics(alarm: Mapping[str, Any]) -> str:
    """Return in words what an alarm asks for, and how often it must be so."""
    if "Metrics" in alarm:
        asked = f"`{alarm['Metrics'][0]['Expression']}`"
    else:
        statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        name = alarm["MetricName"]
        asked = f"{statistic} of `{'memory' if isinstance(name, dict) else name}`"
    points = alarm.get("DatapointsToAlarm", 1)
    minutes = alarm["EvaluationPeriods"] * alarm.get("Period", 60) // 60
    often = f"{points} of {minutes} minutes" if points > 1 else f"{minutes} min"
    return f"{asked}, {often}"


def simulation() -> str:
    """Return the table of how far a batch run goes, by the estimate that a run is given."""
    known = Known(bytes_a_row=100, rows_a_second=100_000, assumed=True)
    function = Function(memory=1769, timeout=900)
    spread = config.FanoutConfig(concurrency=1000)
    ways = {"one function": None, "fan-out": Spread(**spread.model_dump())}
    rows = []
    for power in range(6, 13):
        objects, size = max(1, 10 ** (power - 7)), 10**power * 100
        for way, chosen in ways.items():
            part_rows = 1_000_000 if power < 12 or chosen is None else 10_000_000
            found = estimate(objects, size, known, function, part_rows=part_rows, spread=chosen)
            if chosen is not None and not found.invocations:
                continue  # below the threshold
            rows.append(
                [f"10^{power}", f"{size / 1e9:,.1f} GB", f"{objects:,}", way, span(found.seconds),
                 f"{found.invocations or found.attempts:,}", f"{found.requests:,}",
                 f"${found.dollars:,.2f}", "; ".join(found.problems) or "-"]
            )  # fmt: skip
    names = ["rows", "size", "objects", "by", "time", "invocations", "S3 requests", "dollars",
             "what stands in the way"]  # fmt: skip
    return _table(names, rows)


def leaves() -> Iterator[tuple[str, Any]]:
    """Yield the words and the command of everything that can be run, in the order of `--help`."""

    def below(words: str, group: Any) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if command.hidden:
                continue
            if hasattr(command, "commands"):
                yield from below(f"{words}{name} ", command)
            else:
                yield f"{words}{name}", command

    yield from below("", typer.main.get_command(app))


def commands() -> str:
    """Return the page of commands."""
    shared = {
        option.opts[0]: option
        for _, command in leaves()
        for option in _options(command)
        if option.opts[0] in COMMON
    }
    parts = [
        f"{NOTICE}\n\n# Commands\n",
        _COMMANDS,
        "## Options that many commands share\n",
        _table(["option", "default", "meaning"], [_option_row(shared[name]) for name in COMMON]),
        "An option wins over its environment variable, and that over `fnmodel.yaml`.\n",
    ]
    for name, command in leaves():
        parts.append(_command(name, command))
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help).partition("Example: ")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = _options(command)
    own = [option for option in options if option.opts[0] not in COMMON]
    common = [f"`{option.opts[0]}`" for option in options if option.opts[0] in COMMON]
    words = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    usage = " ".join(["fnmodel", name, *words, *(["[OPTIONS]"] if options else [])])
    lines = [f"## fnmodel {name}\n", f"    {usage}\n", f"{text.strip()}\n"]
    if arguments:
        rows = [[f"`{p.name.upper()}`", p.help] for p in arguments]
        lines.append(_table(["argument", "meaning"], rows))
    if own:
        rows = [_option_row(option) for option in own]
        lines.append(_table(["option", "default", "meaning"], rows))
    if common:
        lines.append(f"Shared: {', '.join(common)}.\n")
    lines.append(f"```sh\n{example.strip()}\n```\n")
    return "\n".join(lines)


def _options(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and p.name != "help"]


def _option_row(option: Any) -> list[str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts[:1], *option.opts[1:]))
    default = option.default
    if isinstance(option.show_default, str):
        shown = option.show_default
    elif option.is_flag or default in (None, ()) or callable(default):
        shown = ""
    else:
        shown = f"`{getattr(default, 'value', default)}`"
    many = "; may be repeated" if option.multiple else ""
    variable = f" Variable: `{option.envvar}`." if option.envvar else ""
    return [names, shown, f"{option.help.rstrip('.')}{many}.{variable}"]


def errors() -> str:
    """Return the page of exit codes and error codes."""
    kinds = list(by_code().values())
    codes: dict[int, list[str]] = {}
    for kind in kinds:
        codes.setdefault(kind.exit_code, []).append(f"[{kind.code}](#{kind.code.lower()})")
    rows = [
        [str(code), meaning, ", ".join(codes.get(code, []))] for code, meaning in EXIT_CODES.items()
    ]
    parts = [
        f"{NOTICE}\n\n# Errors\n",
        _ERRORS,
        "## Exit codes\n",
        _table(["exit code", "meaning", "codes"], rows),
        "## Codes\n",
    ]
    for kind in kinds:
        text = inspect.cleandoc(kind.__doc__ or "")
        parts.append(
            f"### {kind.code}\n\n`{kind.__name__}`, exit code {kind.exit_code}.\n\n{text}\n"
        )
    return "\n".join(parts)


def keys() -> str:
    """Return the tables of all keys of `fnmodel.yaml`."""
    parts = []
    for prefix, model, title in SECTIONS:
        rows = [
            [f"`{prefix}{name}`", _kind(field), _default(field), field.description or ""]
            for name, field in model.model_fields.items()
            if not _is_section(field.annotation)
        ]
        parts += [f"### {title}\n", _table(["key", "type", "default", "meaning"], rows)]
    return "\n".join(parts)


def _is_section(annotation: Any) -> bool:
    """Whether a key holds another table, or many of one."""
    inner = [annotation, *get_args(annotation)]
    nested = any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in inner)
    return nested and NoneType not in inner


def _kind(field: FieldInfo) -> str:
    limits = []
    for rule in field.metadata:
        for name, word in (("ge", "from"), ("gt", "over"), ("le", "to"), ("lt", "under")):
            if (limit := getattr(rule, name, None)) is not None:
                limits.append(f"{word} {limit:,}" if isinstance(limit, int) else f"{word} {limit}")
    kind = _named(field.annotation)
    if any(getattr(rule, "pattern", None) == config.NAME for rule in field.metadata):
        kind = "name"
    return " ".join([kind, *limits])


def _named(annotation: Any) -> str:
    kind = get_origin(annotation)
    if kind is Annotated:
        return _named(get_args(annotation)[0])
    if kind is tuple:
        return f"list of {_named(get_args(annotation)[0])}"
    if kind is Mapping:
        return f"table of {_named(get_args(annotation)[1])}"
    if kind is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in get_args(annotation))
    if kind in (Union, UnionType):
        return " or ".join(_named(a) for a in get_args(annotation) if a is not NoneType)
    names = {str: "text", int: "integer", float: "number", bool: "boolean", Path: "path"}
    if annotation in names:
        return names[annotation]
    return "table, see its own section"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, (), {}):
        return "none"
    # As YAML has them: `false`, not `False`.
    default = field.default
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [list(header), ["---"] * len(header), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Write the files, or name those that differ."""
    stale = {path: text for path, text in pages().items() if not _is(path, text)}
    for path, text in stale.items():
        if "--check" in arguments:
            sys.stderr.write(f"docs/{path.name} is out of date: run docs/generate.py\n")
        else:
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"docs/{path.name} written\n")
    return 1 if stale and "--check" in arguments else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
