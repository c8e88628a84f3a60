"""NannyML on the census of Massachusetts: estimates and alarms by chunk, as JSON on stdout."""

import json
import sys
import time

import nannyml


def main(size: int) -> None:
    """Estimate accuracy and AUC, and compare all columns with the reference, in chunks."""
    reference, analysis, _ = nannyml.load_us_census_ma_employment_data()
    columns = [
        name
        for name in reference.columns
        if name not in {"id", "employed", "year", "prediction", "predicted_probability"}
    ]
    began = time.perf_counter()
    estimator = nannyml.CBPE(
        y_pred_proba="predicted_probability",
        y_pred="prediction",
        y_true="employed",
        problem_type="classification_binary",
        metrics=["accuracy", "roc_auc"],
        chunk_size=size,
    )
    estimated = estimator.fit(reference).estimate(analysis).to_df()
    estimating = time.perf_counter() - began
    began = time.perf_counter()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=columns,
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_size=size,
    )
    drift = calculator.fit(reference).calculate(analysis).to_df()
    comparing = time.perf_counter() - began
    chosen = estimated["chunk"]["period"] == "analysis"
    rows = drift["chunk"]["chunk"]["period"] == "analysis"
    alerts = sum(drift[name]["jensen_shannon"]["alert"].astype(int).to_numpy() for name in columns)[
        rows.to_numpy()
    ]
    json.dump(
        {
            "accuracy": estimated["accuracy"]["value"][chosen].tolist(),
            "auc": estimated["roc_auc"]["value"][chosen].tolist(),
            "alarms": [int(count) for count in alerts],
            "estimating": estimating,
            "comparing": comparing,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
