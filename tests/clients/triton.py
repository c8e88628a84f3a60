"""What tritonclient sees of the four models, blocking and with asyncio; each URL is an argument.

Runs in an environment with tritonclient, as `triton.py '{"add_sub": "127.0.0.1:8080", …}'`; models
that are not named are left out. Prints a line for each check.
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.http as blocking
import tritonclient.http.aio as waiting
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

URLS = json.loads(sys.argv[1])


def tensors(kind, arrays, *, binary=True):
    """Return inputs of any of the two clients, which share their classes."""
    inputs = []
    for name, array in arrays.items():
        tensor = kind.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return inputs


def numbers(rows, dtype):
    """Return both inputs of the models that add."""
    first = np.arange(rows * 16, dtype=dtype).reshape(rows, 16)
    return {"INPUT0": first, "INPUT1": np.full_like(first, 3)}


def adds(result, given):
    """Hold an answer against what numpy says."""
    one, other = given["INPUT0"], given["INPUT1"]
    for name, expected in (("OUTPUT0", one + other), ("OUTPUT1", one - other)):
        found = result.as_numpy(name)
        assert found.dtype == expected.dtype, (name, found.dtype)
        assert np.array_equal(found, expected), name


def health(model):
    """Say that server and model live, and what they are."""
    with blocking.InferenceServerClient(URLS[model]) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert not client.is_model_ready("nobody")
        server = client.get_server_metadata()
        assert {"binary_tensor_data", "classification"} <= set(server["extensions"])
        told = client.get_model_metadata(model)
        assert (told["name"], told["platform"]) == (model, "onnx_onnxv1")
        (version,) = told["versions"]
        assert client.is_model_ready(model, version)
        assert client.get_model_metadata(model, version) == told


def add(model, dtype):
    """Add numbers in binary and in JSON, compressed and not, in small and large batches."""
    with blocking.InferenceServerClient(URLS[model]) as client:
        for rows in (0, 1, 7, 2000):
            given = numbers(rows, dtype)
            adds(client.infer(model, tensors(blocking, given)), given)
        for binary in (True, False):
            for wanted in (True, False):
                for method in (None, "gzip", "deflate"):
                    given = numbers(300, dtype)
                    asked = [
                        blocking.InferRequestedOutput(name, binary_data=wanted)
                        for name in ("OUTPUT1", "OUTPUT0")
                    ]
                    result = client.infer(
                        model, tensors(blocking, given, binary=binary), outputs=asked,
                        request_id="mine", request_compression_algorithm=method,
                        response_compression_algorithm=method,
                    )  # fmt: skip
                    adds(result, given)
                    assert result.get_response()["id"] == "mine"
        result = client.infer(
            model, tensors(blocking, numbers(1, dtype)), parameters={"mine": 1, "other": "x"},
            outputs=[blocking.InferRequestedOutput("OUTPUT1")], sequence_id=7, priority=1,
        )  # fmt: skip
        assert result.as_numpy("OUTPUT0") is None


def errors(model):
    """Get the server's own words for what is wrong, as an exception."""
    wrong = {"INPUT0": np.zeros((1, 15), np.float32), "INPUT1": np.zeros((1, 16), np.float32)}
    with blocking.InferenceServerClient(URLS[model]) as client:
        for given, words in ((wrong, "`shape` must be"), (numbers(1, np.float64), "`datatype`")):
            try:
                client.infer(model, tensors(blocking, given))
            except InferenceServerException as error:
                assert words in error.message(), error
                assert error.status() == "400", error.status()
            else:
                raise AssertionError(words)
        try:
            client.infer("nobody", tensors(blocking, numbers(1, np.float32)))
        except InferenceServerException as error:
            assert "no such model" in error.message(), error


def texts(model):
    """Give texts of all kinds back, in binary and in JSON, from str and from bytes."""
    given = ["", "a", "é 模型 😀", "x" * 70_000, 'quotes " and \\', "\t\n"]
    with blocking.InferenceServerClient(URLS[model]) as client:
        for array in (np.array(given, object), np.array([g.encode() for g in given], object)):
            for binary in (True, False):
                inputs = tensors(blocking, {"INPUT0": array}, binary=binary)
                for wanted in (True, False):
                    asked = [blocking.InferRequestedOutput("OUTPUT0", binary_data=wanted)]
                    found = client.infer(model, inputs, outputs=asked).as_numpy("OUTPUT0")
                    known = [f.decode() if isinstance(f, bytes) else f for f in found.tolist()]
                    assert known == given, (binary, wanted)
        try:
            client.infer(model, tensors(blocking, {"INPUT0": np.array([b"\xff\xfe"], object)}))
        except InferenceServerException as error:
            assert "not UTF-8" in error.message(), error
        else:
            raise AssertionError("bytes that are no text")


def classes(model):
    """Read the best classes by their labels."""
    rows = {"INPUT0": np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 2.7, 4.9, 1.8]], np.float32)}
    with blocking.InferenceServerClient(URLS[model]) as client:
        scores = client.infer(model, tensors(blocking, rows)).as_numpy("probabilities")
        assert scores.shape == (2, 3)
        for wanted in (True, False):
            asked = blocking.InferRequestedOutput(
                "probabilities", binary_data=wanted, class_count=2
            )
            result = client.infer(model, tensors(blocking, rows), outputs=[asked])
            found = result.as_numpy("probabilities")
            assert found.shape == (2, 2)
            for row, best in zip(scores, found, strict=True):
                named = [text.decode() if isinstance(text, bytes) else text for text in best]
                split = [text.split(":") for text in named]
                order = np.argsort(-row)[:2]
                assert [int(index) for _, index, _ in split] == order.tolist()
                assert [np.float32(value) for value, _, _ in split] == row[order].tolist()
                labels = np.array(["setosa", "versicolor", "virginica"])
                assert [label for _, _, label in split] == labels[order].tolist()


async def awaited(model, dtype):
    """Do the same with asyncio, many requests at once."""
    # The embedded cloud runs ten at once, as a new account in AWS does.
    async with waiting.InferenceServerClient(URLS[model], conn_limit=8) as client:
        assert await client.is_server_live()
        assert await client.is_model_ready(model)
        assert (await client.get_model_metadata(model))["name"] == model

        async def one(rows, method):
            given = numbers(rows, dtype)
            result = await client.infer(
                model, tensors(waiting, given), request_id=str(rows),
                request_compression_algorithm=method, response_compression_algorithm=method,
            )  # fmt: skip
            adds(result, given)
            assert result.get_response()["id"] == str(rows)

        methods = (None, "gzip", "deflate")
        await asyncio.gather(*(one(rows, methods[rows % 3]) for rows in range(1, 40)))
        await one(2000, None)


CHECKS = {
    "health": ("add_sub", health, ()),
    "add": ("add_sub", add, (np.float32,)),
    "add integers": ("add_i64", add, (np.int64,)),
    "errors": ("add_sub", errors, ()),
    "texts": ("ident_s", texts, ()),
    "classes": ("clf", classes, ()),
    "asyncio": ("add_sub", lambda *given: asyncio.run(awaited(*given)), (np.float32,)),
}

for name, (model, check, more) in CHECKS.items():
    if model in URLS:
        check(model, *more)
        print(name, flush=True)
