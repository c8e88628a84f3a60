"""Watching, measured: false alarms and power by simulation, and beside other tools on real data.

    python benchmarks/drift.py [--runs 1000] [--peers] [--check] [--json]

    quiet      windows of the training's own world, five to a training sample of 3,000 rows: the
               share of windows in which any of 14 columns (numbers of many shapes, categories, the
               predictions) is called drifted, at alpha 0.01 and, to see more, 0.05; and in which
               fixed thresholds of PSI would have called one
    power      the share of windows in which a shift of one column is found, by size of the shift
    census     employment in Massachusetts, 69,000 rows of reference and 209,000 later ones in
               chunks of 5,000, which ship with NannyML: accuracy and AUC estimated without labels,
               and what came true; in chunks 27 and 28 the answers change
    --peers    the same in NannyML and Evidently, and detectors of errors in River, on streams of
               our own and of its generators (SEA, Hyperplane, Friedman): each in an environment of
               its own below build/peers, with what it installs and how long it takes

Figures of one run stand side by side; seconds are those of this machine. Peers must not report
their use to anybody (NML_DISABLE_USAGE_LOGGING, DO_NOT_TRACK).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import detectors
import numpy as np
import pandas as pd
from goals import Goal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import watch_cases as cases

from fnmodel.model import Feature, Signature, Tensor
from fnmodel.pack.dependencies import run_uv
from fnmodel.profile import Profile, answer_columns
from fnmodel.slim.quality import reference as referring
from fnmodel.watch import estimate
from fnmodel.watch.drift import Rules, Verdict, compare
from fnmodel.watch.sample import sample
from fnmodel.watch.table import Table

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
PEERS: Mapping[str, tuple[str, ...]] = {
    "nannyml": ("nannyml==0.13.1", "statsmodels==0.15.0"),  # which it imports without saying so
    "evidently": ("evidently==0.7.23", "pandas<3"),
    "river": ("river==0.26.1",),
}
CHUNK = 5000
EACH = 5
GOALS = {
    "false alarms at 0.05, of its alpha": Goal(1.0, 1.3, at_most=True),
    "power at 1,000 rows, 0.3 of a deviation": Goal(0.95, 0.9),
    "error of the estimated accuracy, of NannyML's": Goal(1.05, 1.2, at_most=True),
    "time to estimate, of NannyML's": Goal(0.5, 1.0, at_most=True),
}


def main() -> int:
    """Measure, print, and say whether the gates hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000, help="quiet windows of each size")
    parser.add_argument("--peers", action="store_true", help="measure other tools too")
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {"quiet": quiet(options.runs), "power": power()}
    if options.peers:
        result |= beside()
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    verdicts = {name: goal.verdict(figures(result).get(name)) for name, goal in GOALS.items()}
    for name, verdict in verdicts.items():
        print(f"{name:<48} {GOALS[name]!s:>8}  {verdict}", file=sys.stderr)
    return int(options.check and "GATE MISSED" in verdicts.values())


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that have goals."""
    found = {
        "false alarms at 0.05, of its alpha": max(one["beyond"] for one in result["quiet"]) / 0.05,
        "power at 1,000 rows, 0.3 of a deviation": result["power"]["0.3"]["fnmodel"],
    }
    if "census" in result:
        ours, theirs = result["census"]["fnmodel"], result["census"]["nannyml"]
        found["error of the estimated accuracy, of NannyML's"] = ours["mae"] / theirs["mae"]
        found["time to estimate, of NannyML's"] = ours["estimating"] / theirs["estimating"]
    return found


# Simulations


def quiet(runs: int) -> list[dict[str, Any]]:
    """Return, by number of rows, the shares of windows with an alarm."""
    result = []
    for rows in (200, 1000, 10_000):
        rng = np.random.default_rng(rows)
        made = Profile({}, {})
        counts = dict.fromkeys(("drifted", "drifted_05", "beyond", "psi_01", "psi_02"), 0)
        for run in range(runs):
            if run % EACH == 0:
                made = cases.trained(cases.world(rng, 3000))
            columns = judged(made, cases.world(rng, rows), Rules(alpha=0.05, draws=0))
            strict = [c for c in columns if c.verdict is Verdict.DRIFT and c.adjusted <= 0.01]
            counts["drifted"] += bool(strict)
            counts["drifted_05"] += any(c.verdict is Verdict.DRIFT for c in columns)
            counts["beyond"] += any(c.adjusted <= 0.05 for c in columns)
            counts["psi_01"] += any(c.psi > 0.1 for c in columns)
            counts["psi_02"] += any(c.psi > 0.2 for c in columns)
        result.append({"rows": rows, "runs": runs} | {k: v / runs for k, v in counts.items()})
    return result


def power(runs: int = 100, rows: int = 1000) -> dict[str, Any]:
    """Return, by shift in deviations, the share of windows in which it is found."""
    from scipy.stats import ks_2samp

    result = {}
    for shift in (0.0, 0.1, 0.2, 0.3, 0.5):
        rng = np.random.default_rng(int(shift * 100))
        found = dict.fromkeys(("fnmodel", "PSI > 0.1", "PSI > 0.2", "KS, Bonferroni"), 0)
        for _ in range(runs):
            trained = cases.world(rng, 3000)
            made = cases.trained(trained)
            columns = cases.world(rng, rows)
            columns["normal"] = columns["normal"] + shift
            one = next(c for c in judged(made, columns, Rules()) if c.name == "normal")
            found["fnmodel"] += one.verdict is Verdict.DRIFT
            found["PSI > 0.1"] += one.psi > 0.1
            found["PSI > 0.2"] += one.psi > 0.2
            chance = ks_2samp(trained["normal"], columns["normal"]).pvalue
            found["KS, Bonferroni"] += chance <= 0.01 / 14
        result[f"{shift:g}"] = {name: count / runs for name, count in found.items()}
    return result


def judged(made: Profile, columns: Mapping[str, Any], rules: Rules) -> tuple[Any, ...]:
    """Return the columns of one window, compared with a reference."""
    answers = answer_columns(cases.SIGNATURE, cases.outputs(columns))
    current = Profile.empty_like(made).count(columns, answers)
    return compare(sample([(1.0, made)]), sample([(1.0, current)]), rules).columns


# Beside other tools


def beside() -> dict[str, Any]:
    """Install the peers, and measure them and us on the same data."""
    installs = {name: installed(name, packages) for name, packages in PEERS.items()}
    numpy = Path(np.__file__).parent.parent
    installs["fnmodel.watch, with numpy"] = {
        "bytes": sum(weigh(numpy / part) for part in ("numpy", "numpy.libs"))
        + weigh(HERE.parent / "fnmodel" / "watch"),
        "seconds": imported(Path(sys.executable), "fnmodel.watch.report"),
    }
    found = detectors.measured(BUILD / "peers", peer)
    return {"installs": installs, "census": census(), "detectors": found}


def installed(name: str, packages: tuple[str, ...]) -> dict[str, float]:
    """Install a peer once; return its bytes and the seconds of its import."""
    home = BUILD / "peers" / name
    if not (home / "done").exists():
        failure = f"{name} cannot be installed"
        home.parent.mkdir(parents=True, exist_ok=True)
        run_uv(["venv", "--clear", "--python", sys.executable, str(home)], home.parent, failure)
        python = str(home / "bin" / "python")
        run_uv(["pip", "install", "--python", python, *packages], home.parent, failure)
        (home / "done").touch()
    bare = "river.drift" if name == "river" else name
    return {"bytes": weigh(home / "lib"), "seconds": imported(home / "bin" / "python", bare)}


def weigh(folder: Path) -> int:
    """Return the bytes of a folder's files without bytecode."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files)


def imported(python: Path, module: str) -> float:
    """Return the seconds that a new process takes to import a module, the least of three."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([str(python), "-c", f"import {module}"], check=True, capture_output=True,
                       env=silent())  # fmt: skip
        took.append(time.perf_counter() - began)
    return min(took)


def silent() -> dict[str, str]:
    """Return an environment in which peers do not report their use."""
    return {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}


def peer(name: str, *arguments: str, script: str = "peer") -> Any:
    """Run a peer's script in its environment; return what it prints."""
    command = [str(BUILD / "peers" / name / "bin" / "python"),
               str(HERE / "drift" / f"{name}_{script}.py"), *arguments]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=silent())
    return json.loads(done.stdout.splitlines()[-1])


def census() -> dict[str, Any]:
    """Estimate and compare the census by chunk, with each tool."""
    (data,) = (BUILD / "peers" / "nannyml" / "lib").glob(
        "python*/site-packages/nannyml/datasets/data"
    )
    before, after, target = (
        pd.read_parquet(data / f"employment_MA_{part}.pq")
        for part in ("reference", "analysis", "analysis_target")
    )
    after = after.merge(target, on="id")
    true = chunked(after, lambda part: float((part.prediction == part.employed).mean()))
    ours = estimated(before, after)
    theirs = peer("nannyml", str(CHUNK))
    result = {}
    for name, one in (("fnmodel", ours), ("nannyml", theirs)):
        gap = np.abs(np.array(one["accuracy"]) - true[: len(one["accuracy"])])
        result[name] = {**one, "mae": float(gap.mean())}
    apart = np.abs(np.array(ours["accuracy"]) - np.array(theirs["accuracy"]))
    return {**result, "true": true.tolist(), "apart": float(apart.max()),
            "evidently": pages(before, after)}  # fmt: skip


def chunked(table: pd.DataFrame, figure: Callable[[pd.DataFrame], Any]) -> Any:
    """Return a figure of each chunk; what is left over is a chunk too."""
    starts = range(0, len(table), CHUNK)
    return np.array([figure(table.iloc[start : start + CHUNK]) for start in starts])


def features(table: pd.DataFrame) -> list[str]:
    """Return the columns that the model takes."""
    others = {"id", "employed", "year", "prediction", "predicted_probability"}
    return [name for name in table.columns if name not in others]


def estimated(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """Return our estimates and alarms by chunk, and the seconds of both."""
    names = features(before)
    signature = Signature(
        "classification",
        tuple(Tensor(name, "BYTES", (-1, 1)) for name in names),
        (Tensor("label", "INT64", (-1,)), Tensor("scores", "FP64", (-1, 2))),
        tuple(
            Feature(name, "FP64" if name == "AGEP" else "BYTES", categories=("1",))
            for name in names
        ),
        (0, 1),
        "label",
        "scores",
    )

    def columns(table: pd.DataFrame) -> dict[str, Any]:
        return {
            name: table[name].to_numpy(float) if name == "AGEP" else table[name].astype(str).
            to_numpy(object) for name in names
        }  # fmt: skip

    def rows(table: pd.DataFrame) -> Table:
        yes = table.predicted_probability.to_numpy()
        said = table.prediction.to_numpy()
        return Table(tuple(table.index), (), np.empty((len(table), 0)), said,
                     np.stack([1 - yes, yes], axis=1), np.ones(len(table)))  # fmt: skip

    def answers(table: pd.DataFrame) -> dict[str, Any]:
        one = rows(table)
        return {"label": one.answers, "scores": one.scores}

    began = time.perf_counter()
    truth = before.employed.astype(str).to_numpy(object)
    calibration = estimate.calibrate(rows(before), truth, ("0", "1"))
    found = [
        estimate.classifier(rows(part), ("0", "1"), calibration).figures
        for part in (after.iloc[start : start + CHUNK] for start in range(0, len(after), CHUNK))
    ]
    estimating = time.perf_counter() - began
    began = time.perf_counter()
    made = referring.build(columns(before), answers(before), signature)
    reference = sample([(1.0, made)])
    alarms = []
    for start in range(0, len(after), CHUNK):
        part = after.iloc[start : start + CHUNK]
        current = Profile.empty_like(made).count(
            columns(part), answer_columns(signature, answers(part))
        )
        drift = compare(reference, sample([(1.0, current)]), Rules())
        alarms.append(sum(one.role == "feature" for one in drift.drifted))
    return {
        "accuracy": [one["accuracy"] for one in found],
        "auc": [one["auc"] for one in found],
        "alarms": alarms,
        "estimating": estimating,
        "comparing": time.perf_counter() - began,
    }


def pages(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """Return what Evidently says of one chunk, and what its page weighs."""
    folder = BUILD / "peers" / "drift"
    folder.mkdir(parents=True, exist_ok=True)
    before[features(before)].to_csv(folder / "reference.csv", index=False)
    after[features(after)].iloc[27 * CHUNK : 28 * CHUNK].to_csv(folder / "now.csv", index=False)
    paths = (str(folder / name) for name in ("reference.csv", "now.csv", "page.html"))
    found: dict[str, Any] = peer("evidently", *paths)
    return found


def show(result: Mapping[str, Any]) -> None:
    """Print all as tables."""
    print("quiet windows with an alarm\n    rows   alpha .01  alpha .05  beyond chance .05"
          "  PSI > 0.1  PSI > 0.2")  # fmt: skip
    for one in result["quiet"]:
        print(f"{one['rows']:>8,}  {one['drifted']:>10.3f} {one['drifted_05']:>10.3f} "
              f"{one['beyond']:>18.3f} {one['psi_01']:>10.3f} {one['psi_02']:>10.3f}")  # fmt: skip
    print("\nshifts found at 1,000 rows, by size in deviations")
    for shift, found in result["power"].items():
        print(
            f"    {shift:<5}" + "".join(f"  {name}: {share:.2f}" for name, share in found.items())
        )
    if "census" not in result:
        return
    print("\ninstalls")
    for name, one in result["installs"].items():
        print(f"    {name:<28} {one['bytes'] / 1e6:>7.0f} MB   import {one['seconds']:.2f} s")
    found = result["census"]
    print("\ncensus in chunks of 5,000: accuracy estimated without labels")
    for name in ("fnmodel", "nannyml"):
        one = found[name]
        print(f"    {name:<9} error {one['mae']:.4f}, {one['estimating']:.2f} s; all columns "
              f"{one['comparing']:.2f} s")  # fmt: skip
    print(f"    they differ by {found['apart']:.4f} at most; evidently: {found['evidently']}")
    print("    chunk  true   fnmodel  nannyml  columns alarmed (fnmodel, nannyml)")
    for at in range(24, 32):
        print(f"    {at:>5}  {found['true'][at]:.3f}  {found['fnmodel']['accuracy'][at]:.3f}    "
              f"{found['nannyml']['accuracy'][at]:.3f}    {found['fnmodel']['alarms'][at]}, "
              f"{found['nannyml']['alarms'][at]}")  # fmt: skip
    detectors.show(result["detectors"])


if __name__ == "__main__":
    raise SystemExit(main())
