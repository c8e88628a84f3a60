"""Asks original and ONNX the same questions, and writes down what they answered."""
