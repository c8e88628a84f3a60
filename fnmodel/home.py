"""Where local state lives: `FNMODEL_HOME`, else the platform's user data folder."""

import os
from pathlib import Path


def home() -> Path:
    """Return the folder of all local state, made with mode 0700 when it does not exist."""
    chosen = os.environ.get("FNMODEL_HOME")
    if chosen:
        root = Path(chosen).expanduser().absolute()
    else:
        import platformdirs

        root = Path(platformdirs.user_data_dir("fnmodel", appauthor=False))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def folder(*parts: str) -> Path:
    """Return a private folder below `home()`, made when it does not exist."""
    path = home().joinpath(*parts)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
