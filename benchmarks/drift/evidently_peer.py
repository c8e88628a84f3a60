"""Evidently's preset on two tables: which columns drifted, as JSON on stdout.

python evidently_peer.py REFERENCE.csv CURRENT.csv PAGE.html
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(reference: str, current: str, page: str) -> None:
    """Compare the tables and write the page."""
    tables = [pd.read_csv(path, dtype={"AGEP": float}) for path in (reference, current)]
    texts = [name for name in tables[0].columns if name != "AGEP"]
    for table in tables:
        table[texts] = table[texts].astype(str)
    definition = DataDefinition(numerical_columns=["AGEP"], categorical_columns=texts)
    began = time.perf_counter()
    first, second = (Dataset.from_pandas(table, data_definition=definition) for table in tables)
    result = Report([DataDriftPreset()]).run(current_data=second, reference_data=first)
    found = json.loads(result.json())
    result.save_html(page)
    took = time.perf_counter() - began
    count = next(m["value"]["count"] for m in found["metrics"] if "DriftedColumnsCount" in
                 m.get("metric_id", m.get("metric_name", "")))  # fmt: skip
    json.dump({"drifted": count, "took": took, "bytes": Path(page).stat().st_size}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
