"""The documentation says what the code does: commands, links, codes, files, generated parts."""

import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from fnmodel.cli.app import app
from fnmodel.errors import FnmodelError
from fnmodel.provision import template

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = (
    "batch.md", "commands.md", "configuration.md", "errors.md", "fnmodel.schema.json", "local.md",
    "plan.schema.json", "stack.md",
)  # fmt: skip
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")))
}

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"FNM-[A-Z0-9]+")
NAMED_FILE = re.compile(
    r"`((?:fnmodel|handlers|layers|tests|docs|samples|benchmarks|requirements)/[\w./-]+)`"
)


def command_lines(text: str) -> Iterator[str]:
    """Yield the `fnmodel` command lines of the fenced blocks of a page."""
    for block in FENCE.findall(text):
        for line in block.splitlines():
            words = line.strip().removeprefix("$ ")
            if words.startswith("fnmodel "):
                yield words


def parse(line: str) -> None:
    """Read a command line as the command would, without running it.

    Raises:
        TyperException: there is no such command, option or argument.

    """
    words = shlex.split(re.split(r"\s(?:&&|\|\|?|;|>)\s", line)[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    name = "fnmodel"
    while hasattr(command, "commands"):
        if words and words[0] in command.commands:
            name, command = words[0], command.commands[words.pop(0)]
        elif words == ["--version"]:
            return
        else:
            raise typer.BadParameter(f"{line!r}: no command {words[:1]}")
    if "--help" not in words:
        command.make_context(name, words)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as Git hosts make them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def known_codes() -> set[str]:
    """Return every error code that can be explained."""
    kinds = [FnmodelError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.code for kind in kinds[1:]}


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_file_is_up_to_date(name: str) -> None:
    """`python docs/generate.py` would change nothing."""
    made = runpy.run_path(str(DOCS / "generate.py"))["pages"]()

    assert set(made) == {DOCS / each for each in GENERATED}
    assert made[DOCS / name] == (DOCS / name).read_text("utf-8")


def test_every_key_of_the_project_file_is_described() -> None:
    """No table of `fnmodel.yaml`, however deep, is left out of the page of its keys."""
    page = (ROOT / "docs/configuration.md").read_text()
    schema = json.loads((ROOT / "docs/fnmodel.schema.json").read_text())
    tables = [schema, *schema["$defs"].values()]
    keys = {name for table in tables for name in table.get("properties", ())}
    described = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    last = {name.rpartition(".")[2] for name in described}
    sections = {part.removesuffix("[]") for name in described for part in name.split(".")[:-1]}

    assert keys - last - sections == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    """Each relative link leads to a file of this repository, and to a heading in it."""
    broken = []
    for link in LINK.findall(PAGES[page].read_text("utf-8")):
        where, _, anchor = link.partition("#")
        if "://" in where or where.startswith("mailto:"):
            continue
        target = (PAGES[page].parent / where).resolve() if where else PAGES[page]
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_real(page: str) -> None:
    """Each `fnmodel` line of a code block has a command, options and arguments that exist."""
    for line in command_lines(PAGES[page].read_text("utf-8")):
        parse(line)


def test_command_lines_are_found() -> None:
    """The pages show every command at work."""
    lines = [line for path in PAGES.values() for line in command_lines(path.read_text("utf-8"))]
    shown = {line.split()[1] for line in lines}
    command: Any = typer.main.get_command(app)

    assert set(command.commands) <= shown


@pytest.mark.parametrize(
    "line",
    ["fnmodel deply", "fnmodel deploy --lokal", "fnmodel shift ten", "fnmodel batch", "fnmodel"],
)
def test_a_wrong_command_line_is_noticed(line: str) -> None:
    """The check above can fail."""
    with pytest.raises(typer.TyperException):
        parse(line)


def test_every_page_is_linked() -> None:
    """A reader of another page can find it."""
    linked = {
        (path.parent / link.partition("#")[0]).resolve()
        for path in PAGES.values()
        for link in LINK.findall(path.read_text("utf-8"))
        if "://" not in link and (path.parent / link.partition("#")[0]).resolve() != path
    }

    assert [path.name for path in sorted(DOCS.glob("*.md")) if path not in linked] == []


@pytest.mark.parametrize("page", PAGES)
def test_codes_and_files_exist(page: str) -> None:
    """Each error code can be explained, and each file that is named is there."""
    text = PAGES[page].read_text("utf-8")
    files = [name for name in NAMED_FILE.findall(text) if not (ROOT / name).exists()]

    assert set(CODE.findall(text)) - known_codes() == set()
    assert files == []


def test_every_resource_of_the_stack_is_described() -> None:
    """docs/provision.md names each logical id of template.yaml."""
    text = (DOCS / "provision.md").read_text("utf-8")
    resources = template.read((ROOT / "template.yaml").read_text("utf-8"))["Resources"]

    assert [
        name for name in resources if f"`{name}`" not in text and f"`{name}…`" not in text
    ] == []
