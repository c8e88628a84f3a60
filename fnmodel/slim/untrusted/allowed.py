"""The names that a trained model's pickle may use, and what it may do with each of them.

A name is known exactly, or is a class of a known package that derives from a known base. There is
no rule for a whole module: `numpy.load`, `pandas.eval` and `sklearn.utils.os` stay unknown.

A pickle does three things with a name: it passes it on as a value, it makes a bare instance of it,
or it calls it. Most names may not be called: a constructor takes arguments, among them file names.
"""

import importlib
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from fnmodel.errors import UsageError


@dataclass(frozen=True)
class Permit:
    """What a name stands for, what may be called in its place, and whether it may be made bare."""

    value: Any
    call: Callable[..., Any] | None = None
    make: bool = False

    @property
    def as_it_stands(self) -> bool:
        """Whether the name does no harm even to a reader that knows nothing of the other two."""
        return self.value is not Unread and (isinstance(self.value, type) or self.call is None)


class NotHereError(Exception):
    """A known package lacks the name here: another version of it, or it is not installed.

    `module` is the module that could not be imported, or None when only the name is missing.
    """

    def __init__(self, module: str | None = None) -> None:
        super().__init__(module)
        self.module = module


class ArgumentsError(Exception):
    """A known name was called with arguments that no trained model needs."""


def _words(text: str, prefix: str = "") -> frozenset[str]:
    return frozenset(prefix + word for word in text.split())


# Passed on as values: they do no harm, whatever a model calls them with.
_VALUES = (
    _words("Ellipsis NotImplemented bool dict float int list object str tuple", "builtins.")
    | _words(
        "array asarray bool bool_ float16 float32 float64 int16 int32 int64 int8 intc intp longlong"
        " matrix max mean median min ndarray object_ prod std str_ sum uint16 uint32 uint64"
        " uint8 ulonglong var ma.MaskedArray clip nan_to_num ravel reshape squeeze",
        "numpy.",
    )
    | _words("numpy.random.bit_generator.SeedSequence numpy.random.mtrand.RandomState")
    | _words("MT19937 PCG64 PCG64DXSM Philox SFC64", "numpy.random.")
    | _words(
        "_mt19937.MT19937 _pcg64.PCG64 _pcg64.PCG64DXSM _philox.Philox _sfc64.SFC64",
        "numpy.random.",
    )
    | _words("scipy._lib.array_api_compat.numpy._aliases.asarray")
    | _words("zoneinfo.ZoneInfo")
    | _words("sklearn.utils.validation.check_array")  # what histogram boosting prepares with
    | _words("pandas.NA pandas._libs.missing.NA pandas.api.types.is_numeric_dtype")
    | _words(
        "_univariate_selection.chi2 _univariate_selection.f_classif"
        " _univariate_selection.f_oneway _univariate_selection.f_regression"
        " _univariate_selection.r_regression _mutual_info.mutual_info_classif"
        " _mutual_info.mutual_info_regression",
        "sklearn.feature_selection.",
    )
    | _words(
        "cluster._kmeans._kmeans_single_elkan cluster._kmeans._kmeans_single_lloyd"
        " metrics._dist_metrics.newObj",
        "sklearn.",
    )
)

# Called with plain arguments: numbers, text, bytes, arrays, and values of these very names.
_CALLED = (
    _words("complex", "builtins.")
    | _words("date datetime time timedelta timezone", "datetime.")
    | _words("decimal.Decimal fractions.Fraction logging.getLogger")
    | _words(
        "PosixPath PurePosixPath PureWindowsPath _local.PosixPath _local.PurePosixPath"
        " _local.PureWindowsPath",
        "pathlib.",
    )
    | _words(
        "_convert_to_stringdtype_kwargs",
        "numpy._core._internal.",
    )
    | _words(
        "numpy._core.multiarray.scalar numpy._core.numeric._frombuffer numpy.dtype"
        " numpy.random.bit_generator.__pyx_unpickle_SeedSequence"
    )
    | _words("pandas.StringDtype pandas.Interval pandas.PeriodDtype pandas.Timestamp")
    | _words("pandas._libs.interval.Interval pandas.core.arrays.string_.StringDtype")
    | _words(
        "arrays.__pyx_unpickle_NDArrayBacked internals._unpickle_block"
        " interval.__pyx_unpickle_IntervalMixin tslibs.nattype._nat_unpickle"
        " tslibs.timedeltas._timedelta_unpickle tslibs.timestamps._unpickle_timestamp"
        " tslibs.period._unpickle_period tslibs.offsets.__pyx_unpickle_BaseOffset"
        " tslibs.offsets.Day tslibs.offsets.MonthEnd tslibs.offsets._offset",
        "pandas._libs.",
    )
    | _words("pandas.core.internals.managers.BlockManager")
    | _words("pyarrow.lib.type_for_alias pyarrow.lib.py_buffer")
    | _words("sklearn.tree._tree.Tree")
)

# Made bare, their state set afterwards, as the default of every class is.
_MADE = (
    _words("uuid.UUID")
    | _words(
        "BooleanDtype CategoricalDtype DataFrame DatetimeTZDtype Float32Dtype Float64Dtype"
        " Int16Dtype Int32Dtype Int64Dtype Int8Dtype IntervalDtype Series UInt16Dtype UInt32Dtype"
        " UInt64Dtype UInt8Dtype Categorical",
        "pandas.",
    )
    | _words(
        "ArrowStringArray BooleanArray DatetimeArray FloatingArray IntegerArray IntervalArray"
        " NumpyExtensionArray PeriodArray StringArray TimedeltaArray",
        "pandas.arrays.",
    )
    | _words(
        "arrays.boolean.BooleanArray arrays.boolean.BooleanDtype arrays.categorical.Categorical"
        " arrays.floating.FloatingArray arrays.floating.Float32Dtype arrays.floating.Float64Dtype"
        " arrays.integer.IntegerArray arrays.integer.Int16Dtype arrays.integer.Int32Dtype"
        " arrays.integer.Int64Dtype arrays.integer.Int8Dtype arrays.integer.UInt16Dtype"
        " arrays.integer.UInt32Dtype arrays.integer.UInt64Dtype arrays.integer.UInt8Dtype"
        " arrays.datetimes.DatetimeArray arrays.interval.IntervalArray arrays.period.PeriodArray"
        " arrays.string_.StringArray arrays.string_arrow.ArrowStringArray"
        " arrays.timedeltas.TimedeltaArray dtypes.dtypes.CategoricalDtype"
        " dtypes.dtypes.DatetimeTZDtype dtypes.dtypes.IntervalDtype frame.DataFrame"
        " internals.managers.SingleBlockManager series.Series",
        "pandas.core.",
    )
    | _words(
        "Index MultiIndex RangeIndex CategoricalIndex DatetimeIndex IntervalIndex PeriodIndex"
        " TimedeltaIndex core.indexes.base.Index core.indexes.category.CategoricalIndex"
        " core.indexes.datetimes.DatetimeIndex core.indexes.interval.IntervalIndex"
        " core.indexes.multi.MultiIndex core.indexes.period.PeriodIndex"
        " core.indexes.range.RangeIndex core.indexes.timedeltas.TimedeltaIndex",
        "pandas.",
    )
    | _words(
        "_bsr.bsr_array _bsr.bsr_matrix _coo.coo_array _coo.coo_matrix _csc.csc_array"
        " _csc.csc_matrix _csr.csr_array _csr.csr_matrix _dia.dia_array _dia.dia_matrix"
        " _dok.dok_array _dok.dok_matrix _lil.lil_array _lil.lil_matrix",
        "scipy.sparse.",
    )
    | _words(
        "_bsplines.BSpline _cubic.CubicSpline _cubic.PchipInterpolator _interpolate.PPoly",
        "scipy.interpolate.",
    )
    | _words(
        "_loss._loss.CyHalfMultinomialLoss _loss.link.Interval calibration._CalibratedClassifier"
        " calibration._SigmoidCalibration calibration._TemperatureScaling"
        " cluster._birch._CFNode cluster._birch._CFSubcluster"
        " cluster._bisect_k_means._BisectingTree"
        " compose._column_transformer._RemainderColsList"
        " compose._column_transformer.make_column_selector"
        " ensemble._hist_gradient_boosting.predictor.TreePredictor"
        " impute._iterative._ImputerTriplet"
        " metrics._scorer._BaseScorer metrics._scorer._CurveScorer"
        " metrics._scorer._MultimetricScorer metrics._scorer._PassthroughScorer"
        " metrics._scorer._Scorer metrics._scorer._PredictScorer metrics._scorer._ProbaScorer"
        " utils._bunch.Bunch utils._metadata_requests.MetadataRequest"
        " utils._metadata_requests.MetadataRouter utils._metadata_requests.MethodMapping"
        " utils._metadata_requests.MethodMetadataRequest utils._random.SimpleRandom",
        "sklearn.",
    )
    | _words("xgboost.core.Booster lightgbm.basic.Booster")
    | _words("CatBoost CatBoostClassifier CatBoostRanker CatBoostRegressor", "catboost.core.")
)

# Classes of the named package that derive from one of these may be made bare.
_MADE_BASES = {
    "sklearn": (
        "sklearn.base.BaseEstimator",
        "sklearn._loss.loss.BaseLoss",
        "sklearn._loss.link.BaseLink",
        "sklearn.gaussian_process.kernels.Kernel",
        "sklearn.gaussian_process.kernels.Hyperparameter",
        "sklearn.model_selection._split.BaseCrossValidator",
        "sklearn.model_selection._split.BaseShuffleSplit",
        "sklearn.neural_network._stochastic_optimizers.BaseOptimizer",
        "sklearn.metrics._dist_metrics.DistanceMetric64",
        "sklearn.metrics._dist_metrics.DistanceMetric32",
        "sklearn.neighbors._kd_tree.BinaryTree64",
        "sklearn.neighbors._kd_tree.BinaryTree32",
        "sklearn.neighbors._ball_tree.BinaryTree64",
        "sklearn.neighbors._ball_tree.BinaryTree32",
    ),
    "xgboost": ("sklearn.base.BaseEstimator",),
    "lightgbm": ("sklearn.base.BaseEstimator",),
}
# Compiled loss functions are made by calling them with numbers, or with their own class.
_CALLED_BASES = ("sklearn._loss._loss.CyLossFunction",)
_NEEDLESS = _words(
    "scipy.stats._distn_infrastructure.rv_continuous_frozen"
    " scipy.stats._distn_infrastructure.rv_discrete_frozen"
)
_OLD_NAMES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "exceptions": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}
_OLD_BUILTINS = {"unicode": "str", "long": "int", "xrange": "range"}


def check_trust(trust: Collection[str]) -> None:
    """Refuse a name that cannot be trusted: each is one class or function of the user's code.

    Raises:
        UsageError: it is a pattern, or belongs to Python itself.

    """
    for name in sorted(trust):
        parts = name.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise UsageError(
                f"{name!r} is not the full name of one class",
                hint="trust each class by its full name, such as mypackage.steps.Scaler; "
                "there are no patterns",
            )
        if of_python(name):
            raise UsageError(
                f"{name!r} belongs to Python itself and cannot be trusted in a model file",
                hint="no trained model needs it; a file that does may run anything",
            )


def of_python(name: str) -> bool:
    """Whether a full name belongs to Python's own library, where no model's code lives."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in _OLD_NAMES


def how_to_trust(names: Collection[str]) -> str:
    """Return the words that say how to trust these names."""
    listed = [shown(name) for name in sorted(names)[:5]]
    flags = " ".join(f"--trust {name}" for name in listed)
    return f"`trust: [{', '.join(listed)}]` under `slim:` in fnmodel.yaml, or `{flags}` of init"


def shown(name: str) -> str:
    """Return a name from a file as a terminal may print it."""
    plain = name if name.isprintable() else ascii(name)
    return plain if len(plain) <= 120 else plain[:117] + "..."


def renamed(module: str, name: str) -> tuple[str, str]:
    """Return the present names of what older versions of Python and numpy called otherwise."""
    if module == "__builtin__":
        name = _OLD_BUILTINS.get(name, name)
    return _OLD_NAMES.get(module, module), name


def permit(module: str, name: str) -> Permit | None:
    """Return what a pickle may do with a name, or None when it is not known.

    Imports modules of known packages only.

    Raises:
        NotHereError: the package is known, but it or the name is missing here.

    """
    full = f"{module}.{name}"
    special = _SPECIAL.get(full)
    if special is not None:
        return special(module, name)
    if full in _VALUES:
        return Permit(_find(module, name))
    if full in _CALLED:
        value = _find(module, name)
        return Permit(value, call=_plainly(value))
    if full in _MADE:
        return Permit(_find(module, name), make=True)
    if full in _NEEDLESS or module in (
        "scipy.stats._continuous_distns",
        "scipy.stats._discrete_distns",
    ):
        return Permit(Unread, make=True)
    return _by_rule(module, name)


def _by_rule(module: str, name: str) -> Permit | None:
    package = module.partition(".")[0]
    if "." in name or not _plain_module(module):
        return None
    if package in ("numpy", "scipy"):
        return _ufunc(module, name)
    if package not in _MADE_BASES:
        return None
    value = _find(module, name)
    if (
        package == "sklearn"
        and name.startswith("__pyx_unpickle_")
        and module == "sklearn._loss._loss"
    ):
        return Permit(value, call=_remake(value, module, name.removeprefix("__pyx_unpickle_")))
    if not isinstance(value, type):
        return _scoring(package, module, name, value)
    # A module may hold a class of another package; only its home counts.
    if value.__module__ != module or value.__qualname__ != name:
        return None
    if issubclass(value, _found(_CALLED_BASES)):
        return Permit(value, call=_plainly(value), make=True)
    return Permit(value, make=True) if issubclass(value, _found(_MADE_BASES[package])) else None


def _plain_module(module: str) -> bool:
    parts = module.split(".")
    return all(part.isidentifier() for part in parts) and not {
        "tests", "conftest", "testing", "_testing", "__main__", "f2py", "distutils",
    } & set(parts)  # fmt: skip


def _scoring(package: str, module: str, name: str, value: Any) -> Permit | None:
    """Permit the functions that scikit-learn lists as its metrics, as values."""
    if package != "sklearn" or not module.startswith("sklearn.metrics."):
        return None
    import sklearn.metrics

    listed = name in sklearn.metrics.__all__ and getattr(sklearn.metrics, name, None) is value
    return Permit(value) if listed and callable(value) else None


def _ufunc(module: str, name: str) -> Permit | None:
    """Permit the element-wise functions of numpy and scipy.special, as values."""
    homes = {
        "numpy": "numpy",
        "numpy._core._multiarray_umath": "numpy",
        "scipy.special": "scipy.special",
        "scipy.special._ufuncs": "scipy.special",
        "scipy.special._special_ufuncs": "scipy.special",
    }
    if module not in homes:
        return None
    import numpy as np

    value = getattr(_module(homes[module]), name, None)
    return Permit(value) if isinstance(value, np.ufunc) else None


def _found(names: Collection[str]) -> tuple[type, ...]:
    found = []
    for full in names:
        module, _, name = full.rpartition(".")
        try:
            value = _find(module, name)
        except NotHereError:  # another version of scikit-learn
            continue
        if isinstance(value, type):
            found.append(value)
    return tuple(found)


def _find(module: str, name: str) -> Any:
    value: Any = _module(module)
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise NotHereError from None
    return value


def _module(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        missing = error.name == top and top not in sys.modules
        raise NotHereError(top if missing else None) from None


def _memmap(_module: str, _name: str) -> Permit:
    # joblib writes it as the class of an array that was memory-mapped; it would open files.
    return Permit(_find("numpy", "ndarray"))


class Unread:
    """Stands for what a model keeps of its search for settings and never answers with."""

    def __setstate__(self, _state: object) -> None:
        """Drop the state: that of a distribution holds program text."""


def _is_plain(value: Any, depth: int = 0) -> bool:
    import numpy as np

    if value is None or isinstance(value, bool | int | float | complex | str | bytes | bytearray):
        return True
    if isinstance(value, tuple | list):
        return depth < 6 and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, np.ndarray | np.generic | np.dtype):
        return True
    home = type(value).__module__.partition(".")[0]
    return home in ("datetime", "zoneinfo", "pandas", "pyarrow") or isinstance(value, slice)


def _plainly(value: Any) -> Callable[..., Any]:
    """Return a function that calls `value`, or refuses arguments that are no data."""

    def call(*arguments: Any) -> Any:
        allowed = [a for a in arguments if not isinstance(a, type)]
        classes = [a for a in arguments if isinstance(a, type)]
        known = all(c.__module__.partition(".")[0] in ("numpy", "pandas") for c in classes)
        if not (known and all(map(_is_plain, allowed))):
            raise ArgumentsError
        return value(*arguments)

    return call


def _remake(value: Any, module: str, name: str) -> Callable[..., Any]:
    def call(kind: Any, checksum: Any, state: Any) -> Any:
        _require(isinstance(kind, type) and (kind.__module__, kind.__name__) == (module, name))
        _require(isinstance(checksum, int) and _is_plain(state))
        return value(kind, checksum, state)

    return call


def _require(condition: bool) -> None:
    if not condition:
        raise ArgumentsError


def _encode(_module: str, _name: str) -> Permit:
    def call(text: Any, encoding: Any = "latin1") -> bytes:
        _require(isinstance(text, str) and encoding in ("latin1", "latin-1"))
        return str(text).encode("latin-1")

    return Permit(call, call=call)


def _container(module: str, name: str) -> Permit:
    kind = _find(module, name)

    def call(*arguments: Any) -> Any:
        sources = (list, tuple, dict, bytes, bytearray)
        _require(len(arguments) <= 1 and all(isinstance(a, sources) for a in arguments))
        for item in arguments[0] if arguments and not isinstance(arguments[0], bytes) else ():
            check_key(item) if name in ("set", "frozenset") else None
        return kind(*arguments)

    return Permit(kind, call=call)


def _bytearray(_module: str, _name: str) -> Permit:
    def call(*arguments: Any) -> bytearray:
        match arguments:
            case ():
                return bytearray()
            case (bytes() | bytearray() as data,):
                return bytearray(data)
            case (str() as text, "latin-1" | "latin1"):
                return bytearray(text.encode("latin-1"))
            case _:
                raise ArgumentsError

    return Permit(bytearray, call=call)


def _bytes(_module: str, _name: str) -> Permit:
    def call(*arguments: Any) -> bytes:
        _require(not arguments)
        return b""

    return Permit(bytes, call=call)


def _numbers(module: str, name: str) -> Permit:
    kind = _find(module, name)

    def call(*arguments: Any) -> Any:
        _require(all(a is None or isinstance(a, int | float | str) for a in arguments))
        return kind(*arguments)

    return Permit(kind, call=call)


def _type(_module: str, _name: str) -> Permit:
    # How pickle writes the class of None.
    def call(value: Any) -> type:
        _require(value is None or value is Ellipsis or value is NotImplemented)
        return type(value)

    return Permit(call, call=call)


def _getattr(_module: str, _name: str) -> Permit:
    # How pickle writes a time zone; nothing else is looked up.
    import zoneinfo

    def zone(key: Any, _from_cache: Any = True) -> zoneinfo.ZoneInfo:
        _require(isinstance(key, str))
        return zoneinfo.ZoneInfo(key)

    def call(owner: Any, name: Any) -> Permit:
        _require(owner is zoneinfo.ZoneInfo and name == "_unpickle")
        return Permit(zone, call=zone)

    return Permit(call, call=call)


def _defaultdict(module: str, name: str) -> Permit:
    from collections import OrderedDict

    kind = _find(module, name)

    def call(factory: Any = None, *more: Any) -> Any:
        plain = (None, dict, float, int, list, set, str, tuple, bool, OrderedDict)
        _require(not more and any(factory is known for known in plain))
        return kind(factory)

    return Permit(kind, call=call)


def _reconstruct(module: str, name: str) -> Permit:
    rebuild = _find(module, name)

    def call(kind: Any, shape: Any, dtype: Any) -> Any:
        import numpy as np

        _require(kind in (np.ndarray, np.matrix, np.ma.MaskedArray) and shape == (0,))
        _require(dtype in (b"b", "b"))
        return rebuild(kind, shape, dtype)

    return Permit(call, call=call)


def _masked(module: str, name: str) -> Permit:
    rebuild = _find(module, name)

    def call(kind: Any, base: Any, shape: Any, dtype: Any) -> Any:
        import numpy as np

        _require(kind is np.ma.MaskedArray and base is np.ndarray and shape == (0,))
        _require(dtype in (b"b", "b"))
        return rebuild(kind, base, shape, dtype)

    return Permit(call, call=call)


def _bit_generator(module: str, name: str) -> Permit:
    make = _find(module, name)

    def call(kind: Any = "MT19937") -> Any:
        import numpy as np

        known = isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)
        _require(known or isinstance(kind, str))
        return make(kind)

    return Permit(call, call=call)


def _generator(module: str, name: str) -> Permit:
    make = _find(module, name)

    # A second argument is a function to call: older files name the usual one, never another.
    def call(source: Any = "MT19937", *_constructor: Any) -> Any:
        import numpy as np

        _require(isinstance(source, str | np.random.BitGenerator))
        return make(source)

    return Permit(call, call=call)


def _new_index(module: str, name: str) -> Permit:
    rebuild = _find(module, name)

    def call(kind: Any, data: Any) -> Any:
        import pandas as pd

        _require(isinstance(kind, type) and issubclass(kind, pd.Index) and isinstance(data, dict))
        return rebuild(kind, data)

    return Permit(call, call=call)


def _arrow_array(module: str, name: str) -> Permit:
    rebuild = _find(module, name)

    def call(data: Any) -> Any:
        array = rebuild(data)
        array.validate(full=True)  # offsets are read without a check later
        return array

    return Permit(call, call=call)


def _new_tree(module: str, name: str) -> Permit:
    make = _find(module, name)

    def call(kind: Any) -> Any:
        bases = (*_MADE_BASES["sklearn"], "sklearn.metrics._dist_metrics.DistanceMetric")
        _require(isinstance(kind, type) and issubclass(kind, _found(bases)))
        return make(kind)

    return Permit(call, call=call)


def _regular_expression(module: str, name: str) -> Permit:
    compiled = _find(module, name)

    def call(pattern: Any, flags: Any = 0) -> Any:
        _require(isinstance(pattern, str) and isinstance(flags, int) and len(pattern) < 10_000)
        return compiled(pattern, flags)

    return Permit(call, call=call)


_SPECIAL: dict[str, Callable[[str, str], Permit]] = {
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.frozenset": _container,
    "builtins.getattr": _getattr,
    "builtins.range": _numbers,
    "builtins.set": _container,
    "builtins.slice": _numbers,
    "builtins.type": _type,
    "collections.Counter": _container,
    "collections.OrderedDict": _container,
    "collections.defaultdict": _defaultdict,
    "collections.deque": _container,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.memmap": _memmap,
    "numpy.ma.core._mareconstruct": _masked,
    "numpy.random._pickle.__bit_generator_ctor": _bit_generator,
    "numpy.random._pickle.__generator_ctor": _generator,
    "numpy.random._pickle.__randomstate_ctor": _generator,
    "pandas.core.indexes.base._new_Index": _new_index,
    "pyarrow.lib._restore_array": _arrow_array,
    "re._compile": _regular_expression,
    "sklearn.metrics._dist_metrics.newObj": _new_tree,
    "sklearn.neighbors._ball_tree.newObj": _new_tree,
    "sklearn.neighbors._kd_tree.newObj": _new_tree,
}

_MOST_KEY_PARTS = 1000


def check_key(key: Any) -> None:
    """Refuse a key whose hash takes for ever: tuples of tuples of the same tuple.

    Raises:
        ArgumentsError: it has more parts than any model's keys.

    """
    if type(key) in (str, int, float, bytes, bool, type(None)):
        return
    parts, left = [key], _MOST_KEY_PARTS
    while parts:
        part = parts.pop()
        left -= 1
        if left < 0:
            raise ArgumentsError
        if isinstance(part, tuple | frozenset):
            parts.extend(part)
