"""The rules of the house as functions: a tree of modules in, the offences out."""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

STAGES = frozenset({"slim", "pack", "provision", "release", "serve", "batch", "watch", "local"})
RUNTIME_ROOTS = ("handlers", "fnmodel.serve", "fnmodel.batch", "fnmodel.watch")
RUNTIME_PACKAGES = frozenset(
    {"numpy", "onnxruntime", "orjson", "awslambdaric", "fastapi", "starlette", "mangum", "pydantic",
     "aws_lambda_powertools", "boto3", "botocore", "snapshot_restore_py", "uvicorn", "pybase64",
     "simdjson",
     # In layers of their own, where a stage or a batch job needs them.
     "opentelemetry", "arro3", "backports", "compression"}
)  # fmt: skip
BAGS = frozenset({"utils", "util", "common", "shared", "helpers", "misc"})

Graph = Mapping[str, frozenset[str]]


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and path of each module of `fnmodel` and `handlers` below `root`."""
    for package in ("fnmodel", "handlers"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def graph(root: Path) -> Graph:
    """Return what each module imports, at its top or inside functions, by dotted name."""
    return {
        name: frozenset(_imports(ast.parse(path.read_text("utf-8"))))
        for name, path in modules(root)
    }


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # `from fnmodel.pack import layer` names a module too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage_of(name: str) -> str | None:
    """Return the stage that a module belongs to."""
    parts = name.split(".")
    return parts[1] if parts[0] == "fnmodel" and len(parts) > 1 and parts[1] in STAGES else None


def stages_apart(imports: Graph) -> list[str]:
    """Stages never import each other."""
    return [
        f"{name} imports {other}"
        for name, found in imports.items()
        for other in sorted(found)
        if stage_of(name) and stage_of(other) and stage_of(name) != stage_of(other)
    ]


def only_cli_composes(imports: Graph) -> list[str]:
    """Nothing but `fnmodel.cli` and `fnmodel.__main__` imports `fnmodel.cli`."""
    return [
        f"{name} imports {other}"
        for name, found in imports.items()
        for other in sorted(found)
        if other.startswith("fnmodel.cli")
        and not name.startswith("fnmodel.cli")
        and name != "fnmodel.__main__"
    ]


def one_door_to_aws(imports: Graph) -> list[str]:
    """Only `fnmodel.aws` imports boto3 and botocore."""
    return [
        f"{name} imports {other}"
        for name, found in imports.items()
        for other in sorted(found)
        if other.split(".")[0] in {"boto3", "botocore"} and name != "fnmodel.aws"
    ]


def lean_runtime(imports: Graph) -> list[str]:
    """Keep what runs in the image to packages that are in the image, by whatever path."""
    # Names inside a module (`fnmodel.errors.InputError`) are no modules of their own.
    allowed = RUNTIME_PACKAGES | sys.stdlib_module_names | {"fnmodel", "handlers"}
    offences = []
    todo = [(name, name) for name in imports if name.startswith(RUNTIME_ROOTS)]
    seen = {name for name, _ in todo}
    while todo:
        name, path = todo.pop()
        for other in sorted(imports[name]):
            top = other.split(".")[0]
            if other in imports:
                if other not in seen:
                    seen.add(other)
                    todo.append((other, f"{path} → {other}"))
            elif top not in allowed:
                offences.append(f"{path} → {other}")
    return offences


def numpy_alone(imports: Graph) -> list[str]:
    """Keep what watches to numpy and orjson, of all that is installed."""
    allowed = sys.stdlib_module_names | {"fnmodel", "numpy", "orjson"}
    return [
        f"{name} imports {other}"
        for name, found in imports.items()
        for other in sorted(found)
        if name.startswith("fnmodel.watch") and other.split(".")[0] not in allowed
    ]


def bare_packages(root: Path) -> list[str]:
    """`__init__.py` of the package and of each stage hold a docstring and nothing else."""
    offences = []
    for name, path in modules(root):
        depth = len(name.split("."))
        if path.name == "__init__.py" and (depth == 1 or stage_of(name)):
            body = ast.parse(path.read_text("utf-8")).body
            if not (len(body) == 1 and isinstance(body[0], ast.Expr)):
                offences.append(f"{name} holds more than a docstring")
    return offences


def no_bags(root: Path) -> list[str]:
    """No module is named after nothing."""
    return [name for name, _ in modules(root) if name.split(".")[-1] in BAGS]
