"""Ways to make an ONNX model smaller, one a module: serialised model in, serialised model out."""
