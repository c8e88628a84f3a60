"""Our own writers of scikit-learn steps, where skl2onnx has none or a wrong one."""
