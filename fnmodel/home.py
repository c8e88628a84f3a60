"""Where local state lives: `FNMODEL_HOME`, else the platform's user data folder."""

import os
from pathlib import Path

from fnmodel.errors import UsageError


def home() -> Path:
    """Return the folder of all local state, made with mode 0700 when it does not exist.

    Raises:
        UsageError: it cannot be made.

    """
    chosen = os.environ.get("FNMODEL_HOME")
    if chosen:
        root = Path(chosen).expanduser().absolute()
    else:
        import platformdirs

        root = Path(platformdirs.user_data_dir("fnmodel", appauthor=False))
    return _made(root)


def folder(*parts: str) -> Path:
    """Return a private folder below `home()`, made when it does not exist."""
    return _made(home().joinpath(*parts))


def _made(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made: {error.strerror}",
            hint="set FNMODEL_HOME to a folder that you may write to",
        ) from error
    return path
