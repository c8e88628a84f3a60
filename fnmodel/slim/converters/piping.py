"""Writers of what joins steps: pipelines, column transformers, unions, selectors, functions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.converters.emit import Emitter, Method, Table, Writers
from fnmodel.slim.converters.scaling import expm1, log1p
from fnmodel.slim.converters.sparsity import is_sparse


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import feature_selection as fs
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer

    selectors = [
        fs.VarianceThreshold, fs.SelectKBest, fs.SelectPercentile, fs.SelectFpr, fs.SelectFdr,
        fs.SelectFwe, fs.GenericUnivariateSelect, fs.SelectFromModel, fs.RFE, fs.RFECV,
        fs.SequentialFeatureSelector,
    ]  # fmt: skip
    return {
        "transform": {
            Pipeline: _pipeline("transform"),
            ColumnTransformer: _columns,
            FeatureUnion: _union,
            FunctionTransformer: _function,
            **dict.fromkeys(selectors, _select),
        },
        "inverse_transform": {Pipeline: _pipeline_back, FunctionTransformer: _function_back},
        "predict": {Pipeline: _pipeline("predict"), **_eliminated("predict")},
        "predict_proba": {Pipeline: _pipeline("predict_proba"), **_eliminated("predict_proba")},
        "decision_function": {
            Pipeline: _pipeline("decision_function"),
            **_eliminated("decision_function"),
        },
    }


# Finite for every finite number.
_TOTAL = (
    np.abs, np.fabs, np.sign, np.negative, np.sin, np.cos, np.tanh, np.floor, np.ceil, np.rint,
    np.deg2rad, np.radians, np.positive, np.cbrt,
)  # fmt: skip


def _pipeline(method: Method) -> Callable[[Emitter, Any, Table], Any]:
    def write(e: Emitter, pipeline: Any, table: Table) -> Any:
        if getattr(pipeline, "transform_input", None):
            e.refuse(pipeline, "transform_input passes metadata along")
        steps = [step for _, step in pipeline.steps]
        sparse = table.blocks in e.sparse
        for step in steps[:-1]:
            if step is not None and not isinstance(step, str):
                table = e.transform(step, table)
                sparse = is_sparse(step, sparse)
        if sparse:
            e.sparse.add(table.blocks)
        last = steps[-1]
        if last is None or isinstance(last, str):
            return table
        return e.write(method, last, table)

    return write


def _pipeline_back(e: Emitter, pipeline: Any, table: Table) -> Table:
    for _, step in reversed(pipeline.steps):
        if step is not None and not isinstance(step, str):
            table = e.write("inverse_transform", step, table)
    return table


def _eliminated(method: Method) -> dict[type, Any]:
    from sklearn.feature_selection import RFE, RFECV

    def write(e: Emitter, selector: Any, table: Table) -> Any:
        return e.write(method, selector.estimator_, _select(e, selector, table))

    return {RFE: write, RFECV: write}


def _select(e: Emitter, selector: Any, table: Table) -> Table:
    kept = selector.get_support(indices=True)
    if not len(kept):
        e.refuse(selector, "it keeps no column")
    return e.select(table, kept)


def _columns(e: Emitter, transformer: Any, table: Table) -> Table:
    known = [str(name) for name in getattr(transformer, "feature_names_in_", ())]
    weights = transformer.transformer_weights or {}
    parts = []
    for name, step, _ in transformer.transformers_:
        index = transformer._transformer_to_input_indices[name]  # noqa: SLF001
        if (isinstance(step, str) and step == "drop") or not len(index):
            continue
        if table.names and known:
            at = [table.names.index(known[i]) for i in index]
        else:
            at = [int(i) for i in index]
        part = e.select(table, at)
        if not isinstance(step, str):
            part = e.transform(step, part)
        parts.append(_weighted(e, transformer, part, weights.get(name)))
    if not parts:
        e.refuse(transformer, "it keeps no column")
    return e.beside(parts)


def _union(e: Emitter, union: Any, table: Table) -> Table:
    weights = union.transformer_weights or {}
    parts = []
    for name, step in union.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        part = table if isinstance(step, str) else e.transform(step, table)
        parts.append(_weighted(e, union, part, weights.get(name)))
    if not parts:
        e.refuse(union, "it keeps no column")
    return e.beside(parts)


def _weighted(e: Emitter, step: Any, table: Table, weight: float | None) -> Table:
    if weight is None:
        return table
    return Table.numbers(e.graph.mul(e.numbers(table, step), float(weight)), table.width)


def _unary(kind: str) -> Callable[[Graph, str], str]:
    return lambda graph, x: str(graph.op(kind, x))


def functions() -> Mapping[Any, Callable[[Graph, str], str]]:
    """Return the functions of numpy and scipy that have a graph, each with its writer."""
    from scipy import special

    def sign(graph: Graph, x: str) -> str:
        return graph.where(graph.op("IsNaN", x), x, graph.op("Sign", x))

    def scaled(factor: float, kind: str) -> Callable[[Graph, str], str]:
        return lambda graph, x: graph.mul(graph.op(kind, x), factor)

    def log_of_base(base: float) -> Callable[[Graph, str], str]:
        return lambda graph, x: graph.div(graph.op("Log", x), float(np.log(base)))

    whole: dict[Any, Callable[[Graph, str], str]] = {
        np.log: _unary("Log"),
        np.log1p: log1p,
        np.log2: log_of_base(2.0),
        np.log10: log_of_base(10.0),
        np.exp: _unary("Exp"),
        np.exp2: lambda graph, x: str(graph.op("Pow", 2.0, x)),
        np.expm1: expm1,
        np.sqrt: _unary("Sqrt"),
        np.cbrt: lambda graph, x: graph.mul(
            graph.op("Sign", x), graph.op("Pow", graph.op("Abs", x), 1.0 / 3.0)
        ),
        np.square: lambda graph, x: graph.mul(x, x),
        np.abs: _unary("Abs"),
        np.fabs: _unary("Abs"),
        np.sign: sign,
        np.negative: _unary("Neg"),
        np.reciprocal: lambda graph, x: graph.div(1.0, x),
        np.sin: _unary("Sin"),
        np.cos: _unary("Cos"),
        np.tanh: _unary("Tanh"),
        np.floor: _unary("Floor"),
        np.ceil: _unary("Ceil"),
        np.rint: _unary("Round"),
        np.deg2rad: lambda graph, x: graph.mul(x, float(np.pi / 180)),
        np.radians: lambda graph, x: graph.mul(x, float(np.pi / 180)),
        np.positive: lambda _, x: x,
        special.expit: lambda graph, x: graph.sigmoid(x),
        special.log1p: log1p,
        special.expm1: expm1,
    }
    return whole


def applied(e: Emitter, step: Any, function: Any, x: str) -> str:
    """Write a function of numpy over numbers; refuse one that is not known, by name."""
    try:
        known = functions().get(function)
    except TypeError:  # not hashable, so not one of these
        known = None
    if known is None:
        name = getattr(function, "__name__", type(function).__name__)
        e.refuse(step, f"the function {name!r} is Python code, which does not run in ONNX")
    return known(e.graph, x)


def _function(e: Emitter, step: Any, table: Table) -> Table:
    if step.func is None:
        return table
    if step.kw_args:
        e.refuse(step, f"its function takes arguments: {', '.join(step.kw_args)}")
    whole_numbers = any(block.kind == "code" for block in table.blocks)
    if whole_numbers and step.func is np.reciprocal:
        e.refuse(step, "numpy's reciprocal of integers is an integer")
    done = Table.numbers(applied(e, step, step.func, e.numbers(table, step)), table.width)
    return done if step.func in _TOTAL else done.as_partial()


def _function_back(e: Emitter, step: Any, table: Table) -> Table:
    if step.inverse_func is None:
        return table
    if step.inv_kw_args:
        e.refuse(step, f"its function takes arguments: {', '.join(step.inv_kw_args)}")
    return Table.numbers(applied(e, step, step.inverse_func, e.numbers(table, step)), table.width)
