"""Several models in one image: each by its name, loaded on first use, none in another's way."""

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from http_cases import serving
from serve_cases import error_of, event, model, model_folder
from test_serve_handler import run

from fnmodel.capture.line import lines_of
from fnmodel.errors import CapacityError, SlimError
from fnmodel.serve import snapshot
from fnmodel.serve.app import create_app
from fnmodel.serve.boot import open_models
from fnmodel.serve.direct import Direct
from fnmodel.serve.gateway import Gateway
from fnmodel.serve.models import Models, Opening
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.report import EmfReport
from fnmodel.serve.service import Service

ROW = {"a": 1, "b": 2, "c": 3}
VISITOR = {"age": 30, "income": 5.5, "plan": "gold", "visits": 2}
NAMES = "first,second_one,broken"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of three models, as they lie in an image; the last one is no model."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(model_folder("classifier"), root / "first")
    shutil.copytree(model_folder("mixed"), root / "second_one")
    shutil.copytree(model_folder("classifier"), root / "broken")
    (root / "broken" / "model.onnx").write_bytes(b"no model")
    return root


def asked(path: str, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if record is None:
        return event(method="GET", path=path)
    return event(path=path, body={"records": [record]})


def test_each_model_answers_by_its_name(image: Path) -> None:
    """In one process of the function; what has no name in its path is the first model's."""
    answers, logs, _ = run(
        image,
        [
            asked("/models/second_one/predict", VISITOR),
            asked("/models/first/predict", ROW),
            asked("/predict", ROW),
            asked("/v2/models/second_one"),
            asked("/v2/models/first/versions/3/ready"),
            asked("/v2/models/churn"),
            asked("/v2"),
        ],
        FNMODEL_MODELS=NAMES,
    )

    bodies = [json.loads(answer["body"]) for answer in answers]
    assert bodies[0]["predictions"][0]["value"] == 42.0
    assert bodies[0]["model_name"] == "second_one"
    assert bodies[1] == bodies[2]
    assert bodies[2]["model_name"] == "first"
    assert [tensor["name"] for tensor in bodies[3]["inputs"]] == ["age", "income", "plan", "visits"]
    assert bodies[4] == {"name": "first", "ready": True}
    assert answers[5]["statusCode"] == 404
    assert "'first', 'second_one', 'broken'" in error_of(answers[5])
    assert bodies[6]["name"] == "fnmodel"
    named = [line.get("model") for line in logs]
    assert named == ["second_one", "first", "first", "second_one", "first", None, None]


def test_metrics_are_by_model(image: Path) -> None:
    """A model that an image names is a dimension; a name that callers make up never is."""
    _, logs, _ = run(
        image,
        [asked("/models/first/predict", ROW), asked("/models/made-up/predict", ROW)],
        FNMODEL_MODELS=NAMES,
    )

    found = [line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for line in logs]
    assert ["function_name", "model"] in found[0]
    assert ["function_name", "model"] not in found[1]
    for line, sets in zip(logs, found, strict=True):
        assert {name for one in sets for name in one} <= line.keys()


def test_the_first_request_of_each_model_has_no_part_in_an_alias_s_latency() -> None:
    """It loads its model, whatever others the process has answered for; a start is counted once."""
    lines: list[str] = []
    report = EmfReport(model=None, function="f", version="3", write=lines.append)
    for name in ("first", "second", "first", "second"):
        report({"status": 200, "latency_ms": 1.0, "rows": 1, "alias": "live", "model": name})

    parsed = [json.loads(line) for line in lines]
    timed = [
        ["function_name", "alias", "version"] in directive["Dimensions"]
        for line in parsed
        for directive in line["_aws"]["CloudWatchMetrics"]
        if any(metric["Name"] == "latency_ms" for metric in directive["Metrics"])
    ]
    assert timed == [False, False, True, True]
    assert [line["cold_start"] for line in parsed] == [1, 0, 0, 0]


def test_one_model_has_the_metrics_that_it_had() -> None:
    """Without names there is no further dimension, which would be billed."""
    _, logs, _ = run(model_folder("classifier"), [asked("/models/churn/predict", ROW)])

    assert logs[0]["model"] == "churn"
    sets = logs[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    assert sets == [["function_name"], ["function_name", "version"]]


def test_a_model_that_cannot_be_loaded(image: Path) -> None:
    """It answers 503 with the reason, the server is not ready, and the others answer."""
    answers, _, stderr = run(
        image,
        [
            asked("/models/broken/predict", ROW),
            asked("/v2/models/broken/ready"),
            asked("/v2/health/ready"),
            asked("/v2/health/live"),
            asked("/models/first/predict", ROW),
        ],
        FNMODEL_MODELS=NAMES,
    )

    assert [answer["statusCode"] for answer in answers] == [503, 503, 503, 200, 200]
    assert "cannot be loaded" in error_of(answers[0])
    assert error_of(answers[2]).startswith("broken: ")
    assert stderr.count("InputError: ") == 1, "it was tried again"


def test_both_ways_of_lambda_say_the_same(image: Path) -> None:
    """The framework, which gets what the short way does not know, answers the same bytes."""
    environ = {"FNMODEL_MODEL_DIR": str(image), "FNMODEL_MODELS": "first,second_one"}
    reports: list[Any] = []
    models = open_models(environ, "3")
    other = Gateway(create_app(models, report=reports.append))
    direct = Direct(models, report=reports.append, clock=time.perf_counter, others=lambda: other)
    for one in (
        asked("/models/second_one/predict", VISITOR),
        asked("/models/nothing/predict", VISITOR),
        asked("/v2/models/second_one"),
        asked("/v2/models/second_one/versions/3"),
        asked("/v2/models/second_one/versions/4"),
        asked("/v2/models/nothing/ready"),
        asked("/v2/health/ready"),
    ):
        assert direct(one, None)["body"] == other(one, None)["body"]
        assert reports[-1].get("model") == reports[-2].get("model")


def test_models_are_loaded_on_first_use(image: Path) -> None:
    """Nothing is loaded at first, and one model when one is asked for."""
    opened: list[str] = []

    def opening(name: str) -> Callable[[], Any]:
        return Opening(image / name, lambda folder: opened.append(folder.name) or model("mixed"))  # type: ignore[func-returns-value]

    names = ("first", "second_one")
    models = Models(tuple(Service(opening(name), name, "1") for name in names), named=True)
    direct = Direct(
        models, report=lambda _: None, clock=time.perf_counter, others=lambda: pytest.fail("no")
    )

    assert opened == []
    assert direct(asked("/v2/health/live"), None)["statusCode"] == 200
    assert opened == []
    assert direct(asked("/models/second_one/predict", VISITOR), None)["statusCode"] == 200
    assert opened == ["second_one"]
    assert direct(asked("/v2/health/ready"), None)["statusCode"] == 200
    assert opened == ["second_one", "first"]


def test_many_threads_open_a_model_once(image: Path) -> None:
    """Those who ask while it is opened wait for it, and get the same one."""
    opened: list[Path] = []
    begin = threading.Barrier(8)

    def slowly(folder: Path) -> Any:
        opened.append(folder)
        time.sleep(0.05)
        return model("classifier")

    source = Opening(image / "first", slowly)

    def ask(_: int) -> Any:
        begin.wait()
        return source()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))

    assert len(opened) == 1
    assert len({id(one) for one in found}) == 1


@pytest.mark.parametrize(
    ("failure", "tries"), [(SlimError("no"), 1), (CapacityError("no"), 2), (MemoryError(), 2)]
)
def test_only_a_lack_of_memory_is_tried_again(image: Path, failure: Exception, tries: int) -> None:
    """A file does not mend itself; memory may be there when other requests have ended."""
    tried: list[Path] = []

    def fail(folder: Path) -> Any:
        tried.append(folder)
        raise failure

    source = Opening(image / "first", fail)
    for _ in range(2):
        with pytest.raises(RefusalError) as refused:
            source()
        assert refused.value.status == 503

    assert len(tried) == tries


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_model_that_memory_does_not_hold(image: Path, tmp_path: Path) -> None:
    """It is refused like any that cannot be loaded, the process lives, and the others answer."""
    shutil.copytree(image / "first", tmp_path / "first")
    shutil.copytree(image / "first", tmp_path / "large")
    with (tmp_path / "large" / "model.onnx").open("r+b") as file:
        file.truncate(512 << 20)  # sparse
    answers, _, _ = run(
        tmp_path,
        [
            asked("/models/large/predict", ROW),
            asked("/models/first/predict", ROW),
            asked("/models/large/predict", ROW),
        ],
        FNMODEL_MODELS="first,large",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE="128",
    )

    assert [answer["statusCode"] for answer in answers] == [503, 200, 503]
    assert "no memory left" in error_of(answers[2])


def test_a_snapshot_holds_all_models(image: Path) -> None:
    """Each model that loads is loaded before the snapshot; one that does not disturbs nobody."""
    environ = {"FNMODEL_MODEL_DIR": str(image), "FNMODEL_MODELS": NAMES}
    models = open_models(environ, "1")

    snapshot.warm(models)

    assert [source._model is not None for source in _sources(models)] == [True, True, False]


def _sources(models: Models) -> list[Any]:
    return [service.source for service in models.services]


def test_plain_http_and_capture(image: Path, tmp_path: Path) -> None:
    """The image as a container: all models are loaded at its start, and rows name their model."""
    kept = tmp_path / "kept"
    with serving(
        image, tmp_path, FNMODEL_MODELS="first,second_one", FNMODEL_MODEL_NAME="shop",
        FNMODEL_CAPTURE='{"rate": 1}', FNMODEL_CAPTURE_DIR=str(kept),
    ) as server:  # fmt: skip
        assert server.ask("GET", "/v2/health/ready").status == 200
        tensor = {"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        assert server.ask("POST", "/v2/models/first/infer", {"inputs": [tensor]}).status == 200
        answer = server.ask("POST", "/models/second_one/predict", {"records": [VISITOR]})
        assert answer.status == 200
        assert server.ask("POST", "/models/third/predict", {"records": [ROW]}).status == 404
        assert server.end() == 0
    [path] = kept.glob("capture/shop/live/*/*/*/*/*.jsonl")
    lines = [json.loads(line) for line in lines_of(path.read_bytes())]

    assert [line["fnmodel"]["model"] for line in lines] == ["first", "second_one"]
    rows = [json.loads(line["captureData"]["endpointInput"]["data"]) for line in lines]
    assert rows == [ROW, VISITOR]


def test_the_openapi_document_is_of_all_models(image: Path) -> None:
    """Each model has its paths and schemas; operations differ, and every reference leads to one."""
    answers, _, _ = run(image, [asked("/openapi.json")], FNMODEL_MODELS=NAMES)
    text = answers[0]["body"]
    document = json.loads(text)

    posts = {path for path, item in document["paths"].items() if "post" in item}
    assert {"/predict", "/models/first/predict", "/models/second_one/predict"} < posts
    assert "/v2/models/second_one/infer" in posts
    assert not any("broken" in path for path in document["paths"])
    schemas = document["components"]["schemas"]
    assert set(schemas["second_one.Record"]["properties"]) == set(VISITOR)
    assert set(schemas["first.Record"]["properties"]) == set(ROW)
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert references <= schemas.keys()
    names = re.findall(r'"operationId":"([^"]+)"', text)
    assert len(names) == len(set(names))
