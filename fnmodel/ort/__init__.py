"""ONNX Runtime through its C API: a model goes in, a session with `run` comes out."""
