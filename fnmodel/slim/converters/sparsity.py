"""Says where scikit-learn hands on a sparse matrix, to XGBoost a matrix whose zeros are missing."""

from typing import Any

_ALWAYS = ("CountVectorizer", "HashingVectorizer", "TfidfTransformer", "TfidfVectorizer")
_AS_ASKED = (
    "DictVectorizer", "LabelBinarizer", "MultiLabelBinarizer", "OneHotEncoder",
    "RandomTreesEmbedding", "SplineTransformer",
)  # fmt: skip
_AS_GIVEN = (
    "Binarizer", "FunctionTransformer", "MaxAbsScaler", "MissingIndicator", "Normalizer",
    "PolynomialFeatures", "QuantileTransformer", "RobustScaler", "SimpleImputer",
    "StandardScaler",
)  # fmt: skip


def is_sparse(step: Any, given: bool) -> bool:
    """Whether a fitted transformer hands on a sparse matrix; `given` whether it gets one."""
    if step is None or isinstance(step, str):
        return given
    kind = type(step).__name__
    if hasattr(step, "steps"):
        for _, inner in step.steps:
            given = is_sparse(inner, given)
        return given
    if kind == "ColumnTransformer":
        return bool(step.sparse_output_)
    if kind == "FeatureUnion":
        parts = [inner for _, inner in step.transformer_list if inner != "drop"]
        return any(is_sparse(inner, given) for inner in parts)
    if kind == "KBinsDiscretizer":
        return bool(step.encode == "onehot")
    if kind in _AS_ASKED:
        return bool(getattr(step, "sparse_output", getattr(step, "sparse", False)))
    return kind in _ALWAYS or (given and (kind in _AS_GIVEN or hasattr(step, "get_support")))
