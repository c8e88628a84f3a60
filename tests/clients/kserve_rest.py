"""What KServe's client sees of the four models; arguments and output as those of `triton.py`."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

URLS = {name: f"http://{address}" for name, address in json.loads(sys.argv[1]).items()}
CLIENT = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))


def request(model, arrays, kinds, *, binary, outputs=None):
    """Return a request of arrays, in binary or in JSON."""
    inputs = []
    for (name, array), kind in zip(arrays.items(), kinds, strict=True):
        tensor = InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    parameters = {"binary_data_output": binary}
    return InferRequest(
        model, inputs, request_id="mine", parameters=parameters, request_outputs=outputs
    )


async def health():
    """Say that server and model live."""
    assert await CLIENT.is_server_live(URLS["add_sub"])
    assert await CLIENT.is_server_ready(URLS["add_sub"])
    assert await CLIENT.is_model_ready(URLS["add_sub"], "add_sub")


async def add(model, dtype, kind):
    """Add numbers in binary and in JSON, in batches small and large enough to be compressed."""
    for binary in (True, False):
        for rows in (0, 1, 500) if binary else (1, 500):
            one = np.arange(rows * 16, dtype=dtype).reshape(rows, 16)
            given = {"INPUT0": one, "INPUT1": np.full_like(one, 3)}
            asked = request(model, given, [kind] * 2, binary=binary)
            answer = await CLIENT.infer(URLS[model], asked, model_name=model)
            assert answer.id == "mine"
            assert answer.model_name == model
            found = {output.name: output.as_numpy() for output in answer.outputs}
            assert np.array_equal(found["OUTPUT0"], one + 3), (binary, rows)
            assert np.array_equal(found["OUTPUT1"], one - 3), (binary, rows)


async def texts():
    """Give texts back."""
    given = np.array(["", "é 模型 😀", "x" * 5000], object)
    for binary in (True, False):
        asked = request("ident_s", {"INPUT0": given}, ["BYTES"], binary=binary)
        answer = await CLIENT.infer(URLS["ident_s"], asked, model_name="ident_s")
        found = answer.outputs[0].as_numpy().tolist()
        known = [text.decode() if isinstance(text, bytes) else text for text in found]
        assert known == given.tolist(), (binary, found)


async def outputs():
    """Get only the output that was asked for, in the form that was asked for."""
    row = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    asked = [RequestedOutput("probabilities", {"binary_data": True})]
    answer = await CLIENT.infer(
        URLS["clf"],
        request("clf", {"INPUT0": row}, ["FP32"], binary=False, outputs=asked),
        model_name="clf",
    )
    (output,) = answer.outputs
    assert output.as_numpy().shape == (1, 3)
    assert abs(output.as_numpy().sum() - 1) < 1e-6


async def errors():
    """Get the server's own words for what is wrong."""
    wrong = {"INPUT0": np.zeros((1, 15), np.float32), "INPUT1": np.zeros((1, 16), np.float32)}
    try:
        asked = request("add_sub", wrong, ["FP32"] * 2, binary=True)
        await CLIENT.infer(URLS["add_sub"], asked, model_name="add_sub")
    except httpx.HTTPStatusError as error:
        assert "`shape` must be" in str(error), error
    else:
        raise AssertionError("a wrong shape")


async def main():
    """Run the checks, whose client belongs to one event loop."""
    for name, check, more in (
        ("health", health, ()),
        ("add", add, ("add_sub", np.float32, "FP32")),
        ("add integers", add, ("add_i64", np.int64, "INT64")),
        ("texts", texts, ()),
        ("outputs", outputs, ()),
        ("errors", errors, ()),
    ):
        await check(*more)
        print(name, flush=True)


asyncio.run(main())
