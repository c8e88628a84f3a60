"""Tree ensembles: fitted trees in, an ai.onnx.ml TreeEnsemble that answers the same out."""
