"""Many kinds of models convert, and the ONNX model answers like the original."""

import json

import numpy as np
import onnx
import pytest
from slim_cases import GOOD, TOLERANCE, convert, customers, save

from fnmodel.arrays import DTYPES
from fnmodel.inference import Predictor
from fnmodel.model import MISSING_TEXT, MODEL, OnnxModel
from fnmodel.slim.proof.probe import sample_request


@pytest.fixture(scope="module", params=GOOD)
def converted(request, tmp_path_factory):
    """Each kind once: the case, its report and its model directory."""
    folder = tmp_path_factory.mktemp("slim")
    case = GOOD[request.param]()
    report = convert(folder, *save(folder, case.model, case.rows))
    return request.param, case, report, OnnxModel.load(folder / "model")


def test_kind_passes_its_gate(converted):
    """The ONNX answers lie within the tolerance of the original's, on every row."""
    _, case, report, _ = converted
    report.check()

    assert report.rows >= len(case.rows)
    assert report.label_flips == 0


def test_probe_replays_against_the_original(converted):
    """What the served model answers to probe.json's request is what the original expects there."""
    _, _, _, model = converted
    probe = model.probe()
    predictor = Predictor(model.folder)
    tensors = {
        tensor["name"]: np.array(
            [_missing(tensor["datatype"]) if v is None else v for v in tensor["data"]],
            DTYPES[tensor["datatype"]],
        ).reshape(tensor["shape"])
        for tensor in probe["request"]["inputs"]
    }
    answers = predictor.run(tensors)

    assert 0 < len(next(iter(tensors.values()))) <= 20
    assert [tensor["name"] for tensor in probe["expected"]] == list(answers)
    for tensor in probe["expected"]:
        actual = answers[tensor["name"]]
        assert list(actual.shape) == tensor["shape"]
        assert actual.dtype == DTYPES[tensor["datatype"]]
        if actual.dtype.kind == "f":
            expected = np.array(tensor["data"]).reshape(actual.shape)
            np.testing.assert_allclose(actual, expected, TOLERANCE.relative, TOLERANCE.absolute)
        else:
            assert actual.reshape(-1).tolist() == tensor["data"]


def _missing(datatype):
    return MISSING_TEXT if datatype == "BYTES" else np.nan


def test_sample_request_is_answered(converted):
    """The sample request survives JSON and gets one prediction a record."""
    _, _, _, model = converted
    records = json.loads(json.dumps(sample_request(model)))["records"]

    predictions = Predictor(model.folder).predict(records)

    assert len(predictions) == len(records) == 2


def test_graph_is_bare(converted):
    """The graph has no metadata, no ZipMap, one opset a domain, and versions old runtimes know."""
    _, _, report, model = converted
    graph = onnx.load(model.folder / MODEL)
    domains = [entry.domain for entry in graph.opset_import]

    assert not graph.metadata_props
    assert graph.ir_version <= 10
    assert report.opset <= 18
    assert len(domains) == len(set(domains))
    assert "ZipMap" not in {node.op_type for node in graph.graph.node}


def test_signature_of_a_table(tmp_path):
    """Text, codes, integers and missing values are told apart; a dropped column is not needed."""
    case = GOOD["columns-boosting"]()
    convert(tmp_path, *save(tmp_path, case.model, case.rows))
    signature = OnnxModel.load(tmp_path / "model").signature
    features = {feature.name: feature for feature in signature.features}

    assert set(customers().columns) - set(features) == {"unused"}
    assert features["plan"].datatype == "BYTES"
    assert set(features["plan"].categories) == {"basic", "plus", "größer"}
    assert features["plan"].nullable
    assert features["zip"].categories == ("01067", "99084")
    assert features["code"].datatype == "INT64"
    assert (features["tenure"].datatype, features["tenure"].integral) == ("FP64", True)
    assert (features["label"].nullable, features["tenure"].nullable) == (True, False)
    assert signature.task == "classification"
    assert signature.classes == (False, True)
    # A feature already has the name that the output would have got.
    assert signature.label == "label_output"
    assert signature.outputs[0].datatype == "BOOL"


def test_array_model_is_stacked(tmp_path):
    """A model fitted on an array takes one tensor, and its features are called x0, x1, …."""
    case = GOOD["network"]()
    convert(tmp_path, *save(tmp_path, case.model, case.rows))
    signature = OnnxModel.load(tmp_path / "model").signature

    assert signature.stacked
    assert signature.inputs[0].shape == (-1, 4)
    assert [feature.name for feature in signature.features] == ["x0", "x1", "x2", "x3"]
    assert signature.classes == (0, 1, 2)


def test_rows_are_made_from_the_model_when_there_is_no_sample(tmp_path):
    """A forest knows its thresholds: without a sample, seeded rows around them are compared."""
    case = GOOD["string-labels"]()
    source, _ = save(tmp_path, case.model, case.rows)

    report = convert(tmp_path, source, None)

    assert report.passed
    assert report.rows == 1000
    assert report.rows_from == "the model's own statistics"


def test_same_model_gives_the_same_bytes(tmp_path):
    """Two conversions of one file give one digest."""
    case = GOOD["columns-boosting"]()
    source, sample = save(tmp_path, case.model, case.rows)
    digests = set()
    for name in ("a", "b"):
        convert(tmp_path / name, source, sample)
        digests.add(OnnxModel.load(tmp_path / name / "model").digest)

    assert len(digests) == 1
