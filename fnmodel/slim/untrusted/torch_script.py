"""Looks through the code of a TorchScript file before anything of it runs: loading runs some."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from fnmodel.errors import SlimError

FILE_OPERATORS = frozenset({"from_file", "save", "load_tensor"})
"""Operators of torch that read or write files; no model computes with them."""

_LARGEST = 2**26


def check(path: Path) -> None:
    """Refuse TorchScript whose code names an operator that reads or writes files.

    Raises:
        SlimError: it does, or its code cannot be looked through.
        RuntimeError: torch cannot open the archive.

    """
    import torch

    # The parser that torch loads with: another one might see another archive.
    reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001
    for name in reader.get_all_records():
        if not name.endswith(".py"):
            continue
        data = reader.get_record(name)
        if len(data) > _LARGEST:
            raise _refused(path, f"{name} is too large")
        used = sorted(FILE_OPERATORS.intersection(_names(path, name, data)))
        if used:
            raise _refused(path, f"its code uses {used[0]!r}, which reads or writes files")


def _names(path: Path, name: str, data: bytes) -> Iterator[str]:
    """Yield each name that is looked up on something, also by way of `getattr`."""
    try:
        # Strings may hold what Python's own grammar refuses in them.
        text = re.sub(rb"\\\r?\n", b"", data).decode("utf-8", "surrogateescape")
        before = ""
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and before == ".":
                yield token.string
            elif token.type == tokenize.STRING:
                yield str(ast.literal_eval(token.string))
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT):
                before = token.string
    except (tokenize.TokenError, SyntaxError, ValueError, UnicodeError) as error:
        raise _refused(path, f"{name} cannot be read as code") from error


def _refused(path: Path, why: str) -> SlimError:
    return SlimError(f"{path.name}: {why}", hint="do not use this file unless you wrote it")
