"""Writers of imputers: what stands in for a missing number or text."""

from typing import Any

import numpy as np

from fnmodel.model import MISSING_TEXT
from fnmodel.slim.converters.emit import Block, Emitter, Table, Writers
from fnmodel.slim.converters.neighbours import squared_gaps
from fnmodel.slim.converters.scaling import clip


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn import impute

    known = {
        impute.SimpleImputer: _simple,
        impute.MissingIndicator: _indicator,
        impute.KNNImputer: _nearest,
    }
    try:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401

        known[impute.IterativeImputer] = _iterative
    except ImportError:  # no longer experimental
        pass
    return {"transform": known}


def is_missing(e: Emitter, step: Any, block: Block, marker: Any) -> str:
    """Return where a block holds the missing value that a step knows, BOOL of its shape."""
    graph = e.graph
    if block.kind == "text":
        if marker is None or marker != marker or type(marker).__name__ == "NAType":
            return is_text(e, block.name, MISSING_TEXT)
        if not isinstance(marker, str):
            e.refuse(step, f"it looks for {marker!r} in text")
        return is_text(e, block.name, marker)
    if marker is None or isinstance(marker, str):
        e.refuse(step, f"it looks for {marker!r} among numbers")
    number = e.numbers(Table((block,)), step)
    if marker != marker or type(marker).__name__ == "NAType":
        return str(graph.op("IsNaN", number))
    return str(graph.op("Equal", number, float(marker)))


def is_text(e: Emitter, values: str, text: str) -> str:
    """Return where a value of strings is a given one, BOOL of its shape."""
    found = e.graph.op(
        "LabelEncoder",
        values,
        domain="ai.onnx.ml",
        keys_strings=[text],
        values_int64s=[1],
        default_int64=0,
    )
    return e.graph.boolean(found)


def _simple(e: Emitter, step: Any, table: Table) -> Table:
    statistics = list(step.statistics_)
    kept = [i for i, value in enumerate(statistics) if not _empty(value)]
    if step.keep_empty_features and len(kept) < len(statistics):
        e.refuse(step, "it keeps a column that was always missing in training")
    part = e.select(table, kept)
    fills = [statistics[i] for i in kept]
    if all(block.kind != "text" for block in part.blocks):
        filled = [_together(e, step, part, fills)] if kept else []
    else:
        filled = [
            _alone(e, step, block, fill) for block, fill in zip(e.columns(part), fills, strict=True)
        ]
    if step.add_indicator:
        filled += _flags(e, step.indicator_, table).blocks
    if not filled:
        e.refuse(step, "it keeps no column")
    return Table(tuple(filled))


def _alone(e: Emitter, step: Any, block: Block, fill: Any) -> Block:
    """Fill one column of text or numbers."""
    hole = is_missing(e, step, block, step.missing_values)
    if block.kind != "text":
        value = e.graph.where(hole, float(fill), e.numbers(Table((block,)), step))
        return Block(value, "number", 1, block.sources)
    if not isinstance(fill, str):
        e.refuse(step, f"it fills text with {fill!r}")
    value = e.graph.where(hole, np.array([[str(fill)]], dtype=object), block.name)
    return Block(value, "text", 1, block.sources)


def _together(e: Emitter, step: Any, table: Table, fills: list[Any]) -> Block:
    """Fill columns of numbers in one go."""
    block = Block(e.numbers(table, step), "number", table.width, _sources(table))
    hole = is_missing(e, step, block, step.missing_values)
    fill = np.array([float(value) for value in fills]).reshape(1, -1)
    return Block(e.graph.where(hole, fill, block.name), "number", table.width, block.sources)


def _sources(table: Table) -> tuple[str | None, ...]:
    return tuple(source for block in table.blocks for source in block.sources)


def _empty(statistic: Any) -> bool:
    return statistic is None or (isinstance(statistic, float) and statistic != statistic)


def _indicator(e: Emitter, step: Any, table: Table) -> Table:
    if step._precomputed:  # noqa: SLF001
        e.refuse(step, "it was given a mask")
    # Where a hole is new to it and that is an error, the feature is not nullable.
    return _flags(e, step, table)


def _flags(e: Emitter, indicator: Any, table: Table) -> Table:
    columns = e.columns(table)
    shown = [
        e.graph.double(is_missing(e, indicator, columns[int(i)], indicator.missing_values))
        for i in indicator.features_
    ]
    return Table((Block.numbers(e.graph.concat(shown), len(shown)),)) if shown else Table(())


def _nearest(e: Emitter, step: Any, table: Table) -> Table:
    """Fill a hole with the mean of the nearest training rows that have a value there."""
    graph = e.graph
    if step.metric != "nan_euclidean" or callable(step.weights):
        e.refuse(step, "its metric or its weights are a Python function")
    if not step._valid_mask.all():  # noqa: SLF001
        e.refuse(step, "a column was always missing in training")
    x = e.numbers(table, step)
    rows = np.asarray(step._fit_X, float)  # noqa: SLF001
    absent = np.asarray(step._mask_fit_X)  # noqa: SLF001
    hole = is_missing(e, step, Block.numbers(x, table.width), step.missing_values)
    known = graph.double(graph.op("Not", hole))
    clean = graph.where(hole, 0.0, x)
    filled_rows, present = np.where(absent, 0.0, rows), (~absent).astype(float)
    square = squared_gaps(e.graph, clean, known, filled_rows, present)
    shared = graph.matmul(known, present.T)
    none = graph.op("Equal", shared, 0.0)
    share = graph.where(none, 1.0, shared)
    distance = graph.op("Sqrt", graph.mul(graph.div(square, share), float(table.width)))
    far = graph.where(none, np.inf, distance)
    columns = []
    for at in range(table.width):
        own = graph.gather(clean, np.array([at]))
        gap = graph.gather(hole, np.array([at]))
        columns.append(graph.where(gap, _donated(e, step, far, filled_rows, absent, at), own))
    done = [Block(graph.concat(columns), "number", table.width, _sources(table))]
    if step.add_indicator:
        done += _flags(e, step.indicator_, table).blocks
    return Table(tuple(done))


def _donated(e: Emitter, step: Any, far: str, rows: Any, absent: Any, at: int) -> str:
    """Return what the donors of a column give, shape (rows, 1)."""
    graph = e.graph
    donors = np.flatnonzero(~absent[:, at])
    values = rows[donors, at]
    count = min(int(step.n_neighbors), len(donors))
    apart = graph.gather(far, donors)
    near, index = graph.op("TopK", apart, np.array([count]), outputs=2, axis=1, largest=0, sorted=1)
    reached = graph.op("Not", graph.op("IsInf", near))
    if step.weights == "distance":
        zero = graph.double(graph.op("Equal", near, 0.0))
        exact = graph.op("Greater", graph.largest(zero), 0.0)
        inverse = graph.div(1.0, graph.where(graph.boolean(zero), 1.0, near))
        weights = graph.where(exact, zero, inverse)
    else:
        weights = graph.double(reached)
    weights = graph.where(reached, weights, 0.0)
    total = graph.sum(weights)
    gift = graph.sum(graph.mul(graph.gather(values, index, axis=0), weights))
    alone = graph.op("Equal", total, 0.0)
    mean = graph.div(gift, graph.where(alone, 1.0, total))
    # Without a donor that shares a feature, the column's mean stands in.
    return graph.where(alone, float(values.mean()), mean)


def _iterative(e: Emitter, step: Any, table: Table) -> Table:
    if step.sample_posterior:
        e.refuse(step, "sample_posterior=True draws at random")
    if step.keep_empty_features or step._is_empty_feature.any():  # noqa: SLF001
        e.refuse(step, "a column was always missing in training")
    graph, width = e.graph, table.width
    x = e.numbers(table, step)
    hole = is_missing(e, step, Block.numbers(x, width), step.missing_values)
    start = e.numbers(e.transform(step.initial_imputer_, table), step)
    now = [graph.gather(start, np.array([at])) for at in range(width)]
    gaps = [graph.gather(hole, np.array([at])) for at in range(width)]
    low, high = np.asarray(step._min_value, float), np.asarray(step._max_value, float)  # noqa: SLF001
    for turn in step.imputation_sequence_ if step.n_iter_ else ():
        seen = graph.concat([now[int(i)] for i in turn.neighbor_feat_idx])
        part = Table.numbers(seen, len(turn.neighbor_feat_idx))
        at = int(turn.feat_idx)
        guess = graph.reshape(e.predict(turn.estimator, part), -1, 1)
        now[at] = graph.where(gaps[at], clip(graph, guess, low[at], high[at]), now[at])
    done = [Block(graph.concat(now), "number", width, _sources(table))]
    if step.add_indicator:
        done += _flags(e, step.indicator_, table).blocks
    return Table(tuple(done))
