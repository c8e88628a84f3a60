"""Writers of ONNX graphs for the steps of scikit-learn and the boosters, in float64."""
