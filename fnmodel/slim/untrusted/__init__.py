"""Reads what strangers made: pickles, archives and ONNX files that may be hostile."""
