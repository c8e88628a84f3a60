"""Writers of multilayer perceptrons and of the restricted Boltzmann machine."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers

_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "exp": "Exp"}


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor

    return {
        "predict": {MLPClassifier: _choose, MLPRegressor: _forward},
        "predict_proba": {MLPClassifier: _chances},
        "transform": {BernoulliRBM: _hidden},
    }


def _forward(e: Emitter, model: Any, table: Table) -> str:
    def write() -> str:
        graph, value = e.graph, e.numbers(table, model)
        last = model.n_layers_ - 2
        for at, (weights, shift) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            value = graph.add(graph.matmul(value, weights), shift)
            kind = model.out_activation_ if at == last else model.activation
            if kind == "softmax":
                value = e.softmax(value)
            elif kind == "logistic":
                value = graph.sigmoid(value)
            elif kind in _ACTIVATIONS:
                value = str(graph.op(_ACTIVATIONS[kind], value))
            elif kind != "identity":
                e.refuse(model, f"its activation is {kind!r}")
        return value

    return str(e.once("forward", model, table, write))


def _is_multilabel(model: Any) -> bool:
    return bool(model._label_binarizer.y_type_.startswith("multilabel"))  # noqa: SLF001


def _chances(e: Emitter, model: Any, table: Table) -> str:
    value = _forward(e, model, table)
    if model.n_outputs_ == 1:
        return value if _is_multilabel(model) else e.two(value)
    return value


def _choose(e: Emitter, model: Any, table: Table) -> str:
    graph, value = e.graph, _forward(e, model, table)
    if _is_multilabel(model):
        return graph.integer(graph.op("Greater", value, 0.5))
    if model.n_outputs_ == 1:
        return graph.reshape(graph.integer(graph.op("Greater", value, 0.5)), -1)
    return graph.argmax(value)


def _hidden(e: Emitter, model: Any, table: Table) -> Table:
    graph = e.graph
    raw = graph.add(
        graph.matmul(e.numbers(table, model), model.components_.T), model.intercept_hidden_
    )
    return Table.numbers(graph.sigmoid(raw), len(np.atleast_2d(model.components_)))
