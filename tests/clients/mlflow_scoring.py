"""What MLflow's scoring client sees of a model of age, income, plan and visits.

Runs in an environment with mlflow, as `mlflow_scoring.py 8080`. Prints a line for each check.
"""

import sys

import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

CLIENT = ScoringServerClient("127.0.0.1", int(sys.argv[1]))
FRAME = pd.DataFrame(
    {"age": [30.0, 31.5], "income": [1.5, np.nan], "plan": ["gold", "free"], "visits": [2, 3]}
)
EXPECTED = [42.0, 1034.5]


def health():
    """Wait for the server, and read its version."""
    CLIENT.wait_server_ready(timeout=10)
    CLIENT.ping()
    assert CLIENT.get_version() == "3"


def frames():
    """Score a DataFrame, in its order and in another, with a missing value."""
    for frame in (FRAME, FRAME[["visits", "plan", "age", "income"]]):
        answer = CLIENT.invoke(frame, params={"temperature": 1})
        assert answer.get_predictions()[0].tolist() == EXPECTED
        found = answer.get_predictions("ndarray", np.float32)
        assert np.array_equal(found, np.float32(EXPECTED))


def others():
    """Score rows as a list of dicts, and a body that the caller has written."""
    rows = [{"age": 1, "plan": "x", "visits": 3}]
    assert CLIENT.invoke(rows).get_predictions("ndarray").tolist() == [1004.0]
    body = '{"dataframe_records": [{"age": 1, "income": NaN, "plan": "x", "visits": 3}]}'
    assert CLIENT.invoke(body).get_predictions("ndarray").tolist() == [1004.0]


def errors():
    """Get the server's own words for what is wrong."""
    try:
        CLIENT.invoke(FRAME.drop(columns="age"))
    except Exception as error:
        assert "error code 400" in str(error), error
        assert '"error_code":"BAD_REQUEST"' in str(error), error
        assert "missing field 'age'" in str(error), error
    else:
        raise AssertionError("a missing column")


for check in (health, frames, others, errors):
    check()
    print(check.__name__, flush=True)
