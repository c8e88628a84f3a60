"""A trained model file goes in; a verified ONNX model directory comes out."""
