"""Writers of transformers that compute each number from one number, or from its row."""

from typing import Any

import numpy as np

from fnmodel.slim.converters.builder import Graph
from fnmodel.slim.converters.emit import Block, Emitter, Table, Writers

# Where QuantileTransformer stops its normal distribution.
_BOUND = 1e-7
_PPF_CENTRE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1,
     1.39312609387279679503e1, -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1,
     -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1,
     1.59056225126211695515e1, -1.18331621121330003142e0),
)  # fmt: skip
_PPF_TAIL = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1,
     4.40805073893200834700e1, 1.46849561928858024014e1, 2.18663306850790267539e0,
     -1.40256079171354495875e-1, -3.50424626827848203418e-2, -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1,
     1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1,
     -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)  # fmt: skip


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import preprocessing as p

    return {
        "transform": {
            p.StandardScaler: _standard,
            p.MinMaxScaler: _min_max,
            p.MaxAbsScaler: _max_abs,
            p.RobustScaler: _robust,
            p.Normalizer: _normalise,
            p.Binarizer: _binarise,
            p.PowerTransformer: _power,
            p.QuantileTransformer: _quantile,
            p.KBinsDiscretizer: _bins,
            p.PolynomialFeatures: _polynomial,
            p.SplineTransformer: _spline,
        },
        "inverse_transform": {
            p.StandardScaler: _standard_back,
            p.MinMaxScaler: _min_max_back,
            p.MaxAbsScaler: _max_abs_back,
            p.RobustScaler: _robust_back,
            p.PowerTransformer: _power_back,
            p.QuantileTransformer: _quantile_back,
        },
    }


def _standard(e: Emitter, step: Any, table: Table) -> Table:
    x = e.numbers(table, step)
    if step.with_mean:
        x = e.graph.sub(x, step.mean_)
    if step.with_std:
        x = e.graph.div(x, step.scale_)
    return Table.numbers(x, table.width)


def _standard_back(e: Emitter, step: Any, table: Table) -> Table:
    x = e.numbers(table, step)
    if step.with_std:
        x = e.graph.mul(x, step.scale_)
    if step.with_mean:
        x = e.graph.add(x, step.mean_)
    return Table.numbers(x, table.width)


def _min_max(e: Emitter, step: Any, table: Table) -> Table:
    x = e.graph.add(e.graph.mul(e.numbers(table, step), step.scale_), step.min_)
    if step.clip:
        low, high = step.feature_range
        x = clip(e.graph, x, float(low), float(high))
    return Table.numbers(x, table.width)


def _min_max_back(e: Emitter, step: Any, table: Table) -> Table:
    x = e.graph.div(e.graph.sub(e.numbers(table, step), step.min_), step.scale_)
    return Table.numbers(x, table.width)


def _max_abs(e: Emitter, step: Any, table: Table) -> Table:
    x = e.graph.div(e.numbers(table, step), step.scale_)
    if getattr(step, "clip", False):
        x = clip(e.graph, x, -1.0, 1.0)
    return Table.numbers(x, table.width)


def _max_abs_back(e: Emitter, step: Any, table: Table) -> Table:
    return Table.numbers(e.graph.mul(e.numbers(table, step), step.scale_), table.width)


def _robust(e: Emitter, step: Any, table: Table) -> Table:
    x = e.numbers(table, step)
    if step.with_centering:
        x = e.graph.sub(x, step.center_)
    if step.with_scaling:
        x = e.graph.div(x, step.scale_)
    return Table.numbers(x, table.width)


def _robust_back(e: Emitter, step: Any, table: Table) -> Table:
    x = e.numbers(table, step)
    if step.with_scaling:
        x = e.graph.mul(x, step.scale_)
    if step.with_centering:
        x = e.graph.add(x, step.center_)
    return Table.numbers(x, table.width)


def _normalise(e: Emitter, step: Any, table: Table) -> Table:
    graph, x = e.graph, e.numbers(table, step)
    size = graph.op("Abs", x)
    match step.norm:
        case "l1":
            norm = graph.sum(size)
        case "l2":
            norm = graph.op("Sqrt", graph.sum(graph.mul(x, x)))
        case _:
            norm = graph.largest(size)
    norm = graph.where(graph.op("Equal", norm, 0.0), 1.0, norm)
    return Table.numbers(graph.div(x, norm), table.width)


def _binarise(e: Emitter, step: Any, table: Table) -> Table:
    above = e.graph.op("Greater", e.numbers(table, step), float(step.threshold))
    return Table.numbers(e.graph.double(above), table.width)


def clip(graph: Graph, x: str, low: float, high: float) -> str:
    """Return x within [low, high]; NaN stays NaN."""
    bounded = graph.where(graph.op("Less", x, low), low, x)
    return graph.where(graph.op("Greater", bounded, high), high, bounded)


def log1p(graph: Graph, x: str) -> str:
    """Return log(1 + x), exact for small x too."""
    u = graph.add(x, 1.0)
    gap = graph.sub(u, 1.0)
    lost = graph.op("Equal", gap, 0.0)
    # The rounding of 1 + x is undone by x / ((1 + x) - 1).
    near = graph.mul(graph.op("Log", u), graph.div(x, graph.where(lost, 1.0, gap)))
    endless = graph.op("IsInf", x)
    return graph.where(lost, x, graph.where(endless, graph.op("Log", u), near))


def expm1(graph: Graph, x: str) -> str:
    """Return exp(x) - 1, exact for small x too."""
    u = graph.op("Exp", x)
    gap = graph.sub(u, 1.0)
    logarithm = graph.op("Log", u)
    lost = graph.op("Equal", logarithm, 0.0)
    near = graph.mul(gap, graph.div(x, graph.where(lost, 1.0, logarithm)))
    far = graph.op("Greater", graph.op("Abs", x), 1.0)
    return graph.where(lost, x, graph.where(far, gap, near))


def _power(e: Emitter, step: Any, table: Table) -> Table:
    graph, x = e.graph, e.numbers(table, step)
    if step.method == "box-cox":
        moved = _box_cox(graph, x, step.lambdas_)
    else:
        moved = _yeo_johnson(graph, x, step.lambdas_)
    done = Table.numbers(moved, table.width)
    if step.method == "box-cox":
        done = done.as_partial()
    return e.transform(step._scaler, done) if step.standardize else done  # noqa: SLF001


def _raised(graph: Graph, logarithm: str, exponent: Any) -> str:
    """Return (exp(exponent * logarithm) - 1) / exponent, which tends to the logarithm itself."""
    flat = np.abs(exponent) < np.finfo(float).eps
    safe = np.where(flat, 1.0, exponent)
    raised = graph.div(expm1(graph, graph.mul(logarithm, safe)), safe)
    return graph.where(flat, logarithm, raised) if flat.any() else raised


def _box_cox(graph: Graph, x: str, lambdas: Any) -> str:
    positive = graph.where(graph.op("Greater", x, 0.0), x, np.nan)  # others are refused
    return _raised(graph, str(graph.op("Log", positive)), np.asarray(lambdas, float))


def _yeo_johnson(graph: Graph, x: str, lambdas: Any) -> str:
    lambdas = np.asarray(lambdas, float)
    above = _raised(graph, log1p(graph, str(graph.op("Max", x, 0.0))), lambdas)
    size = graph.op("Neg", graph.op("Min", x, 0.0))
    below = graph.op("Neg", _raised(graph, log1p(graph, str(size)), 2 - lambdas))
    moved = graph.where(graph.op("GreaterOrEqual", x, 0.0), above, below)
    known = np.isnan(lambdas)  # a column that was constant in training
    return graph.where(known, x, moved) if known.any() else moved


def _power_back(e: Emitter, step: Any, table: Table) -> Table:
    graph = e.graph
    if step.standardize:
        table = e.write("inverse_transform", step._scaler, table)  # noqa: SLF001
    x, power = e.numbers(table, step), np.asarray(step.lambdas_, float)
    if np.isnan(power).any():
        e.refuse(step, "a column was constant in training")

    def lowered(values: str, exponent: Any, plus: float) -> str:
        """Return the inverse of `_raised`, exponentiated, less `plus`."""
        flat = np.abs(exponent) < np.finfo(float).eps
        safe = np.where(flat, 1.0, exponent)
        base = graph.add(graph.mul(values, safe), 1.0)
        curved = graph.sub(graph.op("Pow", base, 1.0 / safe), plus)
        straight = expm1(graph, values) if plus else str(graph.op("Exp", values))
        return graph.where(flat, straight, curved) if flat.any() else curved

    if step.method == "box-cox":
        return Table.numbers(lowered(x, power, 0.0), table.width)
    above = lowered(str(graph.op("Max", x, 0.0)), power, 1.0)
    size = graph.op("Neg", graph.op("Min", x, 0.0))
    below = graph.op("Neg", lowered(str(size), 2 - power, 1.0))
    back = graph.where(graph.op("GreaterOrEqual", x, 0.0), above, below)
    return Table.numbers(back, table.width)


def count_below(graph: Graph, x: str, edges: Any, *, equal: bool = True) -> str:
    """Return how many edges are at most x (or less than x), int64 of the shape of x, (rows, 1)."""
    kind = "GreaterOrEqual" if equal else "Greater"
    return graph.sum(graph.integer(graph.op(kind, x, np.asarray(edges, float).reshape(1, -1))))


def interpolate(graph: Graph, x: str, points: Any, values: Any) -> str:
    """Write `numpy.interp` for x of shape (rows, 1); NaN stays NaN."""
    points, values = np.asarray(points, float), np.asarray(values, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.nan_to_num(np.diff(values) / np.diff(points), posinf=0.0, neginf=0.0)
    at = count_below(graph, x, points)
    # Position 0 lies before the first point, the last one after the last.
    slope = graph.gather(np.r_[0.0, slopes, 0.0], at, axis=0)
    start = graph.gather(np.r_[points[0], points], at, axis=0)
    level = graph.gather(np.r_[values[0], values], at, axis=0)
    line = graph.add(graph.mul(slope, graph.sub(x, start)), level)
    return graph.where(graph.op("IsNaN", x), x, line)


def _quantile(e: Emitter, step: Any, table: Table) -> Table:
    graph, done = e.graph, []
    normal = step.output_distribution == "normal"
    for at, column in enumerate(e.columns(table)):
        x = e.numbers(Table((column,)), step)
        points, levels = step.quantiles_[:, at], step.references_
        up = interpolate(graph, x, points, levels)
        down = interpolate(graph, str(graph.op("Neg", x)), -points[::-1], -levels[::-1])
        y = graph.mul(graph.sub(up, down), 0.5)
        if normal:
            low = graph.op("Less", graph.sub(x, _BOUND), float(points[0]))
            high = graph.op("Greater", graph.add(x, _BOUND), float(points[-1]))
        else:
            low = graph.op("Equal", x, float(points[0]))
            high = graph.op("Equal", x, float(points[-1]))
        y = graph.where(low, 0.0, graph.where(high, 1.0, y))
        done.append(_normal(graph, y) if normal else y)
    return Table.numbers(graph.concat(done), table.width)


def _quantile_back(e: Emitter, step: Any, table: Table) -> Table:
    if step.output_distribution == "normal":
        e.refuse(step, "its inverse needs the normal distribution, which ONNX has in float32 only")
    graph, done = e.graph, []
    for at, column in enumerate(e.columns(table)):
        x = e.numbers(Table((column,)), step)
        done.append(interpolate(graph, x, step.references_, step.quantiles_[:, at]))
    return Table.numbers(graph.concat(done), table.width)


def _normal(graph: Graph, y: str) -> str:
    """Return the normal quantile of y in [0, 1], cut where QuantileTransformer cuts it."""
    from scipy.stats import norm

    low = float(norm.ppf(_BOUND - np.spacing(1)))
    high = float(norm.ppf(1 - (_BOUND - np.spacing(1))))
    # Cephes' ndtri: one ratio of polynomials in the middle, another in the tails.
    limit = float(np.exp(-2))
    upper = graph.op("Greater", y, 1.0 - limit)
    side = graph.where(upper, graph.sub(1.0, y), y)
    middle = graph.sub(side, 0.5)
    square = graph.mul(middle, middle)
    bend = graph.mul(middle, graph.mul(square, _ratio(graph, square, *_PPF_CENTRE)))
    centre = graph.mul(graph.add(middle, bend), float(np.sqrt(2 * np.pi)))
    inside = graph.op("Max", side, _BOUND / 10)
    x = graph.op("Sqrt", graph.mul(graph.op("Log", inside), -2.0))
    inverse = graph.div(1.0, x)
    start = graph.sub(x, graph.div(graph.op("Log", x), x))
    tail = graph.sub(graph.mul(inverse, _ratio(graph, inverse, *_PPF_TAIL)), start)
    tail = graph.where(upper, graph.op("Neg", tail), tail)
    value = graph.where(graph.op("Greater", side, limit), centre, tail)
    return graph.where(graph.op("IsNaN", y), y, clip(graph, value, low, high))


def _ratio(graph: Graph, x: str, above: tuple[float, ...], below: tuple[float, ...]) -> str:
    return graph.div(_horner(graph, x, above), _horner(graph, x, below))


def _horner(graph: Graph, x: str, coefficients: tuple[float, ...]) -> str:
    value = graph.mul(graph.mul(x, 0.0), 0.0)
    value = graph.add(value, coefficients[0])
    for coefficient in coefficients[1:]:
        value = graph.add(graph.mul(value, x), coefficient)
    return value


def _bins(e: Emitter, step: Any, table: Table) -> Table:
    graph, done = e.graph, []
    for at, column in enumerate(e.columns(table)):
        x = e.numbers(Table((column,)), step)
        edges = np.asarray(step.bin_edges_[at], float)
        found = (
            count_below(graph, x, edges[1:-1])
            if len(edges) > 2
            else graph.integer(graph.mul(x, 0.0))
        )
        count = int(step.n_bins_[at])
        if step.encode == "ordinal":
            codes = tuple(float(code) for code in range(count))
            done.append(Block.numbers(graph.double(found), 1, codes))
        else:
            hot = graph.double(graph.op("Equal", found, np.arange(count).reshape(1, -1)))
            done.append(Block.numbers(hot, count))
    return Table(tuple(done))


def _polynomial(e: Emitter, step: Any, table: Table) -> Table:
    graph, x = e.graph, e.numbers(table, step)
    powers = step.powers_
    one = table.width  # the position of a column of ones
    factors = [[f for f, power in enumerate(row) for _ in range(power)] for row in powers]
    degree = max((len(f) for f in factors), default=0)
    ones = graph.add(graph.mul(graph.gather(x, np.array([0])), 0.0), 1.0)
    padded = graph.concat([x, ones])
    # scikit-learn multiplies the later features first.
    if not degree:
        return Table.numbers(graph.gather(padded, np.full(len(powers), one)), len(powers))
    filled = np.array([[one] * (degree - len(f)) + f[::-1] for f in factors])
    product = graph.gather(padded, filled[:, 0])
    for at in range(1, degree):
        product = graph.mul(product, graph.gather(padded, filled[:, at]))
    return Table.numbers(product, len(powers))


def _spline(e: Emitter, step: Any, table: Table) -> Table:
    if step.extrapolation == "error":
        e.refuse(step, "extrapolation='error' refuses values beyond its knots, ONNX cannot")
    graph, done, degree = e.graph, [], int(step.degree)
    for at, column in enumerate(e.columns(table)):
        x = e.numbers(Table((column,)), step)
        spline = step.bsplines_[at]
        if step.extrapolation in ("constant", "linear"):
            basis = _bounded_basis(graph, step, spline, x, degree)
            # scikit-learn counts the degree of "linear" up from column to column.
            degree += step.extrapolation == "linear" and degree <= 1
        else:
            basis = _basis(graph, step, spline, x)
        if getattr(step, "handle_missing", "error") == "zeros":
            basis = graph.where(graph.op("IsNaN", x), 0.0, basis)
        done.append(basis)
    count = step.bsplines_[0].c.shape[1]
    whole, width = graph.concat(done), count * table.width
    if not step.include_bias:
        kept = np.array([i for i in range(width) if (i + 1) % count])
        whole, width = graph.gather(whole, kept), len(kept)
    return Table.numbers(whole, width)


def _bounded_basis(graph: Graph, step: Any, spline: Any, x: str, degree: int) -> str:
    """Return the basis functions at x, continued beyond the outer knots as the step says."""
    low, high = float(spline.t[degree]), float(spline.t[-degree - 1])
    at = np.arange(spline.c.shape[1])
    first, last = spline(low), spline(high)
    inside = _basis(graph, step, spline, clip(graph, x, low, high))
    reached = degree
    rise: tuple[Any, Any] = (np.zeros(len(at)), np.zeros(len(at)))
    if step.extrapolation == "linear":
        reached += degree <= 1
        rise = (spline(low, nu=1), spline(high, nu=1))
    outer = (at < reached, at >= len(at) - reached)
    below = graph.add(graph.mul(graph.sub(x, low), rise[0] * outer[0]), first * outer[0])
    above = graph.add(graph.mul(graph.sub(x, high), rise[1] * outer[1]), last * outer[1])
    beyond = graph.where(graph.op("Greater", x, high), above, inside)
    return graph.where(graph.op("Less", x, low), below, beyond)


def _basis(graph: Graph, step: Any, spline: Any, x: str) -> str:
    """Return the values of a B-spline's basis functions at x, shape (rows, functions)."""
    from scipy.interpolate import PPoly

    degree, knots = step.degree, spline.t
    low, high = float(knots[degree]), float(knots[-degree - 1])
    inside = clip(graph, x, low, high)
    if step.extrapolation == "continue":
        position, inside = inside, x
    elif step.extrapolation == "periodic":
        if high > low:
            over = graph.op("Mod", graph.sub(x, low), high - low, fmod=1)
            over = graph.where(graph.op("Less", over, 0.0), graph.add(over, high - low), over)
            inside = graph.add(over, low)
        else:
            inside = graph.mul(x, 0.0)
        position = inside
    else:
        position = inside
    basis = [PPoly.from_spline((knots, c, degree)) for c in np.asarray(spline.c, float).T]
    breaks = basis[0].x
    used = [i for i in range(len(breaks) - 1) if breaks[i] < breaks[i + 1]]
    used = [i for i in used if low <= breaks[i] < high] or used[:1]
    starts = breaks[used]
    # Of shape (powers, intervals, functions), the highest power first.
    pieces = np.stack([piece.c[:, used] for piece in basis], axis=2)
    found = count_below(graph, position, starts[1:]) if len(starts) > 1 else graph.integer(
        graph.mul(position, 0.0)
    )  # fmt: skip
    flat = graph.reshape(found, -1)
    offset = graph.sub(inside, graph.gather(starts, found, axis=0))
    value = graph.gather(pieces[0], flat, axis=0)
    for power in pieces[1:]:
        value = graph.add(graph.mul(value, offset), graph.gather(power, flat, axis=0))
    return value
