"""Asks checkov what it finds in the stack, and holds it against what was reviewed.

python tests/checkov.py CHECKOV    the program, of an environment of its own: `make checkov`

It exits with 1 where something is found that `tests/checkov.yaml` does not know, and where that
file knows something that is found no longer.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from test_template_around import body

from fnmodel.config import Access, CaptureConfig, FunctionConfig
from fnmodel.provision.around import Around

REVIEWED = Path(__file__).with_name("checkov.yaml")

Found = Mapping[tuple[str, str], set[str]]
"""The resources that a check finds fault with, by its id and the stage's name."""


def stages() -> dict[str, str]:
    """Return the bodies of a stage with everything and of one with nothing asked for."""
    plain = body(
        fanout=None, requests=None, replay=False,
        surroundings=Around(), access=Access(iam=True), cors=None, rollout=False, audit=False,
        capture=CaptureConfig(), function=FunctionConfig(),
    )  # fmt: skip
    full = body(stack={"kms_key": "own"})
    return {"full": json.dumps(full), "plain": json.dumps(plain)}


def found_by(program: str) -> Found:
    """Run checkov over both stages, without a network."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.json") for name in stages()]
        for file, text in zip(files, stages().values(), strict=True):
            file.write_text(text, "utf-8")
        command = [program, "--framework", "cloudformation", "--skip-download", "--compact",
                   "--quiet", "--output", "json", "--file", *map(str, files)]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
        try:
            answer = json.loads(ran.stdout)
        except json.JSONDecodeError:
            sys.exit(f"checkov gave no answer:\n{ran.stdout}\n{ran.stderr}")
    results, summary = answer["results"], answer["summary"]
    if summary["parsing_errors"] or summary["passed"] < 100:  # it has looked at little or nothing
        sys.exit(f"checkov could not read the stack: {summary}")
    for one in results["failed_checks"]:
        stage = Path(one["file_path"]).stem
        found[one["check_id"], stage].add(one["resource"].rpartition(".")[2])
    return found


def reviewed() -> Found:
    """Read what was reviewed; an entry without a reason is none."""
    known: dict[tuple[str, str], set[str]] = {}
    for check, entry in yaml.safe_load(REVIEWED.read_text("utf-8")).items():
        if not entry.get("reason", "").strip():
            sys.exit(f"{REVIEWED.name}: {check} has no reason")
        known |= {(check, stage): set(names) for stage, names in entry["found"].items()}
    return known


def differences(found: Found, known: Found) -> list[str]:
    """Return in words what is found and not known, or known and not found."""
    said = []
    for check, stage in sorted(found.keys() | known.keys()):
        here, there = found.get((check, stage), set()), known.get((check, stage), set())
        said += [f"{check}, {stage}: {name} is new" for name in sorted(here - there)]
        said += [f"{check}, {stage}: {name} is found no longer" for name in sorted(there - here)]
    return said


def main(arguments: Sequence[str]) -> int:
    """Print what differs."""
    [program] = arguments
    found = found_by(program)
    said = differences(found, reviewed())
    for line in said:
        sys.stderr.write(f"{line}\n")
    if said:
        sys.stderr.write(f"mend the template, or say in {REVIEWED.name} why it is right\n")
        return 1
    count = sum(map(len, found.values()))
    sys.stdout.write(f"checkov    {count} findings, each reviewed in {REVIEWED.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
