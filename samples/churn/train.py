"""Trains a model that says which telephone customers are about to leave.

Makes a table of customers, fits a pipeline on it, and writes `model.joblib` and
`data/customers.csv` beside this file.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).resolve().parent
TEXT = ["plan", "payment", "region"]
NUMBERS = ["tenure_months", "support_calls", "monthly_charge", "data_gb"]


def make_customers(count: int, seed: int) -> pd.DataFrame:
    """Return `count` invented customers; some payments and data volumes are missing."""
    rng = np.random.default_rng(seed)
    customers = pd.DataFrame(
        {
            "plan": rng.choice(["prepaid", "monthly", "yearly"], count, p=[0.25, 0.5, 0.25]),
            "payment": rng.choice(["card", "transfer", "cash"], count, p=[0.6, 0.3, 0.1]),
            "region": rng.choice(["north", "south", "east", "west"], count),
            "tenure_months": rng.integers(1, 73, count),
            "support_calls": rng.poisson(1.2, count),
            "monthly_charge": rng.normal(42, 14, count).clip(5).round(2),
            "data_gb": rng.gamma(2.0, 6.0, count).round(1),
        }
    )
    leaning = (
        0.9 * (customers["plan"] == "prepaid")
        - 1.4 * (customers["plan"] == "yearly")
        + 0.8 * (customers["payment"] == "cash")
        - 0.04 * customers["tenure_months"]
        + 0.6 * customers["support_calls"]
        + 0.03 * (customers["monthly_charge"] - 42)
    )
    leaves = rng.random(count) < 1 / (1 + np.exp(-leaning))
    customers["churned"] = np.where(leaves, "yes", "no")
    customers.loc[rng.random(count) < 0.04, "data_gb"] = np.nan
    customers.loc[rng.random(count) < 0.02, "payment"] = None
    return customers


def main() -> None:
    """Make the table, fit the pipeline, print its accuracy, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="another seed, another model")
    seed = parser.parse_args().seed

    customers = make_customers(4000, seed)
    train, test = train_test_split(customers, random_state=seed)
    features = TEXT + NUMBERS

    prepare = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), TEXT),
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        ]
    )
    model = make_pipeline(prepare, GradientBoostingClassifier(random_state=seed))
    model.fit(train[features], train["churned"])
    accuracy = model.score(test[features], test["churned"])
    print(f"accuracy on {len(test)} new customers: {accuracy:.3f}")

    (HERE / "data").mkdir(exist_ok=True)
    test.to_csv(HERE / "data" / "customers.csv", index=False)
    joblib.dump(model, HERE / "model.joblib")


if __name__ == "__main__":
    main()
