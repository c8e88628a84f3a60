"""What CodeBuild does in AWS, on this machine: an event starts `fnmodel run` where the project is.

The emulator knows projects and does not build. A target that is a project of CodeBuild is run as a
process of its own, in the folder that the stack of a local stage has named.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fnmodel.local.gateway import environment

_SERVICE = ":codebuild:"
_FOLDER = "FNMODEL_PROJECT"


def started_by(arn: str) -> str | None:
    """Return the name of the project that a target's ARN names; None for other targets."""
    return arn.rpartition(":project/")[2] if _SERVICE in arn and ":project/" in arn else None


def variables(project: Mapping[str, Any], given: str) -> dict[str, str]:
    """Return the variables of a build: the project's, and those that its event has instead.

    `given` is what the rule made of the event, as JSON.
    """
    declared = project.get("environment", {}).get("environmentVariables", ())
    override = json.loads(given).get("environmentVariablesOverride", ()) if given else ()
    return {one["name"]: one["value"] for one in (*declared, *override)}


def start(values: Mapping[str, str], home: Path) -> None:
    """Run the pipeline of a local stage in the background, where its folder is known.

    What it says goes to a file below `pipelines` of the embedded cloud's folder.
    """
    folder = values.get(_FOLDER)
    if folder is None or not Path(folder).is_dir():
        sys.stderr.write(f"the pipeline of {folder} is not run: there is no such folder\n")
        return
    logs = home / "pipelines"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = values.get("FNMODEL_RETRAIN", "run").replace("/", "_")
    # The emulator's own settings are nobody else's.
    own = environment(0, home).keys()
    kept = {key: value for key, value in os.environ.items() if key not in own}
    kept |= values
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fnmodel", "run", "--local", "--project", folder],
            cwd=folder, env=kept, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie
