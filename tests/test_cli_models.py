"""Several models through the commands that need no cloud: init, slim, pack."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_cases import conformance
from cloud_cases import Project
from onnx import TensorProto, helper, numpy_helper, save

from fnmodel.config import load


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home that the tests share, so that each model is converted once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(tmp_path: Path, home: Path) -> Project:
    """Return a folder with the models `add_sub` and `clf`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, model in conformance().models():
        if name in {"add_sub", "clf"}:
            save(model, folder / f"{name}.onnx")
    (folder / "rows.csv").write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n6.7,3.1,4.7,1.5\n")
    return Project(folder, home)


def test_init_writes_a_project_of_several_models(project: Project) -> None:
    """Named by their files, in the order given; what has no named features has no request."""
    said = project.json("init", "clf.onnx", "add_sub.onnx")
    written = load(project.folder / "fnmodel.yaml")

    assert written.name == "shop"
    assert list(written.served) == ["clf", "add_sub"] == list(said["models"])
    assert written.served["clf"].model == project.folder / "clf.onnx"
    assert said["models"]["add_sub"]["signature"]["inputs"][0]["name"] == "INPUT0"
    assert [Path(path).name for path in said["files"]] == ["fnmodel.yaml"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("clf.onnx", "twice/clf.onnx"), "would both be the model 'clf'"),
        (("clf.onnx", "add_sub.onnx", "none.onnx"), "there is no model none.onnx"),
        (("clf.onnx", "--sample", "rows.csv", "--sample", "rows.csv"), "1 models and 2 samples"),
    ],
)
def test_init_refuses_what_cannot_be_told_apart(
    project: Project, command: tuple[str, ...], words: str
) -> None:
    """Two names or samples that clash write nothing."""
    (project.folder / "twice").mkdir()
    (project.folder / "twice" / "clf.onnx").write_bytes((project.folder / "clf.onnx").read_bytes())
    assert words in project.run("init", *command, code=2).stderr
    assert not (project.folder / "fnmodel.yaml").exists()


def test_each_model_is_converted_and_judged_on_its_own(project: Project) -> None:
    """Progress and errors name the model; the others' results stay in the cache."""
    file = project.folder / "fnmodel.yaml"
    project.run("init", "add_sub.onnx", "clf.onnx")
    text = file.read_text()
    limit = "    model: clf.onnx\n    gates: {model_mb: 0.0001}\n"
    file.write_text(text.replace("    model: clf.onnx\n", limit))

    refused = project.run("slim", "--output", "json", code=4)
    found = json.loads(refused.stdout)["models"]
    file.write_text(text)
    passed = project.json("slim")["models"]

    assert "error: model 'clf': " in refused.stderr
    assert "slim       add_sub: " in refused.stderr
    assert list(found) == ["add_sub", "clf"]
    assert found["clf"]["report"]["gates"][0]["passed"] is False
    assert passed["add_sub"]["cached"]
    assert passed["clf"]["digest"] == found["clf"]["digest"]


def large() -> Any:
    """Return a model with 100 MiB of weights."""
    weights = {"weights": np.ones(100 << 18, np.float32)}
    nodes = [
        helper.make_node("ReduceSum", ["weights"], ["sum"], keepdims=0),
        helper.make_node("Add", ["INPUT0", "sum"], ["OUTPUT0"]),
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])
        for name in ("INPUT0", "OUTPUT0")
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "large", tensors[:1], tensors[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_pack_says_when_memory_cannot_hold_the_models(project: Project) -> None:
    """Before anything is built, with the memory that would do."""
    project.run("init", "clf.onnx", "add_sub.onnx")
    save(large(), project.folder / "add_sub.onnx")
    with (project.folder / "fnmodel.yaml").open("a") as file:
        file.write("function: {memory: 128}\n")

    said = project.run("pack", code=1).stderr

    assert "128 MB of memory, and its models need at least 14" in said
    assert "add_sub 104.9 MB" in said
    assert "`function.memory`" in said
