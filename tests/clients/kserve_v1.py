"""What KServe's REST client sees by its V1 protocol, of a model of a, b and c called churn.

Runs in an environment with kserve, as `kserve_v1.py http://127.0.0.1:8080`. Prints a line for each
check.
"""

import asyncio
import sys

import httpx
from kserve import InferenceRESTClient, RESTConfig

URL = sys.argv[1]
CLIENT = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))


async def health():
    """Say that server and model live."""
    assert await CLIENT.is_server_live(URL)
    assert await CLIENT.is_model_ready(URL, "churn")


async def rows():
    """Predict rows by name and in order."""
    for row in ({"a": 1, "b": 2, "c": 3}, [1, 2, 3]):
        answer = await CLIENT.infer(URL, {"instances": [row, row]}, model_name="churn")
        assert [found["label"] for found in answer["predictions"]] == ["yes", "yes"]


async def columns():
    """Predict a tensor by its name."""
    asked = {"inputs": {"X": [[1, 2, 3], [-1, 0, -3]]}, "signature_name": "serving_default"}
    answer = await CLIENT.infer(URL, asked, model_name="churn")
    assert answer["outputs"]["label"] == ["yes", "no"]


async def errors():
    """Get the server's own words for what is wrong."""
    for model, asked, words in (
        ("nobody", {"instances": []}, "no such model"),
        ("churn", {"instances": [[1, 2]]}, "row 0 has 2 values"),
    ):
        try:
            await CLIENT.infer(URL, asked, model_name=model)
        except httpx.HTTPStatusError as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)


async def main():
    """Check everything on one event loop, which the client stays on."""
    for check in (health, rows, columns, errors):
        await check()
        print(check.__name__, flush=True)


asyncio.run(main())
