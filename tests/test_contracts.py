"""The rules of the house hold, and each of them is seen to break."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import contracts
import pytest

ROOT = Path(__file__).parents[1]
RULES: dict[str, Callable[[Path], list[str]]] = {
    "stages apart": lambda root: contracts.stages_apart(contracts.graph(root)),
    "only cli composes": lambda root: contracts.only_cli_composes(contracts.graph(root)),
    "one door to AWS": lambda root: contracts.one_door_to_aws(contracts.graph(root)),
    "lean runtime": lambda root: contracts.lean_runtime(contracts.graph(root)),
    "numpy alone": lambda root: contracts.numpy_alone(contracts.graph(root)),
    "bare packages": contracts.bare_packages,
    "no bags": contracts.no_bags,
}
BREACHES = {
    "stages apart": {"fnmodel/pack/build.py": "def f():\n    from fnmodel.slim import convert\n"},
    "only cli composes": {"fnmodel/release/alias.py": "from fnmodel.cli import app\n"},
    "one door to AWS": {"fnmodel/provision/stack.py": "import botocore.exceptions\n"},
    "lean runtime": {
        "fnmodel/serve/app.py": "from fnmodel.config import load\n",
        "fnmodel/config/__init__.py": "import yaml\n",
    },
    "numpy alone": {"fnmodel/watch/drift.py": "import pydantic\n"},
    "bare packages": {"fnmodel/serve/__init__.py": '"""Doc."""\nimport numpy\n'},
    "no bags": {"fnmodel/pack/utils.py": ""},
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_its_rules(rule: str) -> None:
    """No module of this tree breaks the rule."""
    assert RULES[rule](ROOT) == []


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_can_break(rule: str, tmp_path: Path) -> None:
    """A small tree that breaks one rule is caught by that rule, and by no other."""
    for name, text in BREACHES[rule].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert [name for name, check in RULES.items() if check(tmp_path)] == [rule]


def test_the_image_has_what_its_code_imports() -> None:
    """No module in the image imports one of ours that is not there."""
    listed = (ROOT / "tests/golden/image-3.13-x86_64.txt").read_text().split()
    paths = [path.removeprefix("var/task/") for path in listed if path.startswith("var/task/")]
    inside = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in paths
        if path.endswith(".py")
    }
    imports = contracts.graph(ROOT)

    assert inside <= imports.keys()
    assert [
        f"{name} imports {other}"
        for name in sorted(inside)
        for other in sorted(imports[name] & imports.keys())
        if other not in inside
    ] == []


@pytest.mark.parametrize("command", [["--help"], ["deploy", "--help"], ["--version"]])
def test_help_is_quick(command: list[str]) -> None:
    """Help and version load neither boto3 nor onnxruntime, nor what reads the project."""
    heavy = "boto3 botocore onnxruntime numpy yaml sklearn onnx fastapi ministack".split()
    code = (
        "import sys\nfrom fnmodel.__main__ import run\n"
        f"code = run({command!r})\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stderr.strip() == "[]"
    assert "fnmodel" in ran.stdout
