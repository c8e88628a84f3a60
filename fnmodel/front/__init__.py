"""Named values go in, the graph's inputs come out: what ONNX cannot say, in Python and JSON.

`front.json` of a model directory lists the steps; `front.py` loads and runs them, each step has a
module, and no step needs the library that trained the model.
"""
