"""Which rungs there are, and which a family of models climbs."""

from dataclasses import replace

from fnmodel.errors import UsageError
from fnmodel.slim.rungs.blocks import eight_bit, four_bit
from fnmodel.slim.rungs.dynamic import dynamic_int8
from fnmodel.slim.rungs.embedding import int8_tables
from fnmodel.slim.rungs.float32 import float32
from fnmodel.slim.rungs.rung import Options, Rung
from fnmodel.slim.rungs.simplify import simplify
from fnmodel.slim.rungs.static import static_int8
from fnmodel.slim.rungs.store import half, int8, single
from fnmodel.slim.rungs.tidy import tidy
from fnmodel.slim.rungs.trees import first_trees, narrow_trees
from fnmodel.slim.subject import Family

_TIDY = Rung("tidy", tidy, foundation=True, cleans=True)
_SIMPLIFY = Rung("onnxslim", simplify, foundation=True)
_FLOAT32 = Rung("float32", float32, foundation=True)
_FLOAT32_TREES = Rung("float32-trees", narrow_trees, foundation=True)
_FLOAT32_WEIGHTS = Rung("float32-weights", single, widens=True)
_FLOAT16_WEIGHTS = Rung("float16-weights", half, widens=True)
_INT8_WEIGHTS = Rung("int8-weights", int8, widens=True)
_INT8_DYNAMIC = Rung("int8-dynamic", dynamic_int8)
_INT8_STATIC = Rung("int8-static", static_int8)
_INT8_TABLES = Rung("int8-tables", int8_tables)
_EIGHT_BIT = Rung("8-bit", eight_bit)
_FOUR_BIT = Rung("4-bit", four_bit)
_SHARES = (0.1, 0.2, 0.5)
_FEWER_TREES = tuple(Rung(f"trees-{share:.0%}", first_trees(share)) for share in _SHARES)

_BY_FAMILY: dict[Family, tuple[Rung, ...]] = {
    "trees": (_FLOAT32_TREES, *_FEWER_TREES),
    "linear": (_FLOAT32, _FLOAT32_WEIGHTS),
    "mlp": (
        _FLOAT32, _FOUR_BIT, _INT8_WEIGHTS, _INT8_DYNAMIC, _EIGHT_BIT, _FLOAT16_WEIGHTS,
        _FLOAT32_WEIGHTS,
    ),
    "cnn": (_FLOAT32, _INT8_STATIC, _INT8_WEIGHTS, _FLOAT16_WEIGHTS, _FLOAT32_WEIGHTS),
    "transformer": (
        _FLOAT32, _FOUR_BIT, _INT8_WEIGHTS, _EIGHT_BIT, _INT8_DYNAMIC, _INT8_TABLES,
        _FLOAT16_WEIGHTS, _FLOAT32_WEIGHTS,
    ),
    # Which neighbours are nearest, float32 tells for rows like the sample's and no others.
    "table": (),
    "other": (_FLOAT32, _INT8_WEIGHTS, _FLOAT16_WEIGHTS, _FLOAT32_WEIGHTS),
}  # fmt: skip

NAMES = tuple(
    dict.fromkeys(rung.name for family in _BY_FAMILY.values() for rung in family)
    | {_TIDY.name: None, _SIMPLIFY.name: None}
)
"""All rungs, by the names that `Options.rungs` takes."""


def rungs(family: Family, options: Options) -> tuple[Rung, ...]:
    """Return the rungs for a family of models, the most wanted of equals first.

    Raises:
        UsageError: the options name a rung that there is not.

    """
    unknown = [name for name in options.rungs or () if name not in NAMES]
    if unknown:
        raise UsageError(
            f"there is no rung {unknown[0]!r}", hint=f"the rungs are {', '.join(NAMES)}"
        )
    chosen = [_TIDY, _SIMPLIFY]
    for rung in _BY_FAMILY[family]:
        if rung in _FEWER_TREES:
            if options.truncate_trees is not None:
                chosen.append(replace(rung, by_metric=options.truncate_trees))
            continue
        if rung is _FOUR_BIT and not options.four_bit:
            continue
        if rung is _INT8_DYNAMIC and family == "transformer" and options.goal != "latency":
            continue
        chosen.append(rung)
    return tuple(r for r in chosen if options.rungs is None or r.name in options.rungs)
