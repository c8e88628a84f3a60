"""Writers of Gaussian process regression: its kernel, and the weights of its training rows."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.emit import Emitter, Table, Writers
from fnmodel.slim.converters.neighbours import all_distances


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor

    def refuse(e: Emitter, model: Any, table: Table) -> str:
        del table
        e.refuse(model, "its Laplace approximation solves a system of equations for each row")

    return {
        "predict": {GaussianProcessRegressor: _mean, GaussianProcessClassifier: refuse},
        "predict_proba": {GaussianProcessClassifier: refuse},
    }


def _mean(e: Emitter, model: Any, table: Table) -> str:
    graph, x = e.graph, e.numbers(table, model)
    kernel = _kernel(e, model, model.kernel_, x, np.asarray(model.X_train_, float))
    mean = graph.matmul(kernel, np.asarray(model.alpha_, float).reshape(len(model.X_train_), -1))
    scale = np.asarray(model._y_train_std, float).reshape(1, -1)  # noqa: SLF001
    shift = np.asarray(model._y_train_mean, float).reshape(1, -1)  # noqa: SLF001
    return graph.add(graph.mul(mean, scale), shift)


def _kernel(e: Emitter, model: Any, kernel: Any, x: str, rows: Any) -> str:
    """Return the kernel between rows and training rows, (rows, training rows)."""
    graph, kind = e.graph, type(kernel).__name__
    match kind:
        case "Sum" | "Product":
            parts = [_kernel(e, model, part, x, rows) for part in (kernel.k1, kernel.k2)]
            return graph.add(*parts) if kind == "Sum" else graph.mul(*parts)
        case "Exponentiation":
            inner = _kernel(e, model, kernel.kernel, x, rows)
            return str(graph.op("Pow", inner, float(kernel.exponent)))
        case "ConstantKernel":
            return _filled(e, x, len(rows), float(kernel.constant_value))
        case "WhiteKernel":  # noise of a row with itself, and these are other rows
            return _filled(e, x, len(rows), 0.0)
        case "DotProduct":
            return graph.add(graph.matmul(x, rows.T), float(kernel.sigma_0**2))
        case "RBF":
            square = _squares(e, model, x, rows, kernel.length_scale)
            return str(graph.op("Exp", graph.mul(square, -0.5)))
        case "RationalQuadratic":
            square = _squares(e, model, x, rows, kernel.length_scale)
            base = graph.add(graph.div(square, float(2 * kernel.alpha)), 1.0)
            return str(graph.op("Pow", base, -float(kernel.alpha)))
        case "ExpSineSquared":
            gap = graph.op("Sqrt", _squares(e, model, x, rows, 1.0))
            wave = graph.op("Sin", graph.mul(gap, float(np.pi / kernel.periodicity)))
            bent = graph.div(wave, float(kernel.length_scale))
            return str(graph.op("Exp", graph.mul(graph.mul(bent, bent), -2.0)))
        case "Matern":
            return _matern(e, model, kernel, x, rows)
        case _:
            raise e.refusal(model, f"its kernel is a {kind}")


def _filled(e: Emitter, x: str, count: int, value: float) -> str:
    first = e.graph.mul(e.graph.gather(x, np.array([0])), 0.0)
    return e.graph.add(first, np.full((1, count), value))


def _squares(e: Emitter, model: Any, x: str, rows: Any, scale: Any) -> str:
    # The weights of training rows may be huge, so that no digit of a distance may be lost.
    scale = np.asarray(scale, float)
    return all_distances(e, model, e.graph.div(x, scale), rows / scale, 2.0)


def _matern(e: Emitter, model: Any, kernel: Any, x: str, rows: Any) -> str:
    graph = e.graph
    square = _squares(e, model, x, rows, kernel.length_scale)
    if kernel.nu == np.inf:
        return str(graph.op("Exp", graph.mul(square, -0.5)))
    gap = str(graph.op("Sqrt", square))
    if kernel.nu == 0.5:
        return str(graph.op("Exp", graph.op("Neg", gap)))
    if kernel.nu not in (1.5, 2.5):
        e.refuse(model, f"its Matern kernel has nu={kernel.nu}, which needs a Bessel function")
    far = graph.mul(gap, float(np.sqrt(2 * kernel.nu)))
    level = graph.add(far, 1.0)
    if kernel.nu == 2.5:
        level = graph.add(level, graph.div(graph.mul(far, far), 3.0))
    return graph.mul(level, graph.op("Exp", graph.op("Neg", far)))
