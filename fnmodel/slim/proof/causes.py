"""What may make a model answer differently that no conversion can mend."""

from typing import Any

from fnmodel.slim.source import walk


def notes(model: Any) -> tuple[str, ...]:
    """Return the known causes of differences that this model may show on every row."""
    causes = ((name, _cause(estimator)) for name, estimator in walk(model))
    return tuple(dict.fromkeys(f"step {name!r}: {cause}" for name, cause in causes if cause))


def _cause(estimator: Any) -> str | None:
    kind = type(estimator).__name__
    if kind.startswith("KNeighbors") or kind == "KNNImputer":
        return (
            "of training rows at the same distance, scikit-learn takes those that its search "
            "meets first; here it is the first ones"
        )
    if kind in ("PCA", "TruncatedSVD", "KernelPCA", "Nystroem", "LinearDiscriminantAnalysis"):
        return "its products are rounded in another order, which a tree after it may see"
    return None
