"""Makes tree ensembles smaller: narrower numbers, or fewer trees."""

from fnmodel.slim.rungs.rung import Build, Feeds, NotApplicableError


def narrow_trees(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with float32 splits and leaves.

    Raises:
        NotApplicableError: it has no trees in float64.

    """
    from fnmodel.slim.trees.shrink import narrow

    narrowed = narrow(onnx_bytes)
    if narrowed is None:
        raise NotApplicableError("no trees in float64")
    return narrowed


def first_trees(share: float) -> Build:
    """Return a rung that keeps this share of each ensemble's trees, the first ones.

    It raises NotApplicableError where trees cannot be dropped.
    """

    def build(onnx_bytes: bytes, _: Feeds) -> bytes:
        from fnmodel.slim.trees.shrink import truncate

        shortened: bytes | None = truncate(onnx_bytes, share)
        if shortened is None:
            raise NotApplicableError("the trees cannot be told apart")
        return shortened

    return build
