"""Gives Keras' recurrent layers torch's own kernels, which export as one ONNX node each.

With its torch backend Keras unrolls an LSTM or GRU in Python, step by step: the graph grows with
the length, and is right for no other.
"""

from collections.abc import Callable
from typing import Any


def use_kernels(model: Any) -> int:
    """Replace the loops of a Keras model's LSTM and GRU layers in place; return how many.

    Layers with other activations than the standard ones, states kept between calls, or masks keep
    their loop.
    """
    layers = [layer for layer in _layers(model) if type(layer).__name__ in {"LSTM", "GRU"}]
    chosen = [layer for layer in layers if _is_standard(layer)]
    for layer in chosen:
        layer.call = _kernel(layer, layer.call)
    return len(chosen)


def _layers(model: Any) -> list[Any]:
    found, stack = [], [model]
    while stack:
        layer = stack.pop()
        found.append(layer)
        inner = list(getattr(layer, "layers", ()))
        inner += [
            getattr(layer, name)
            for name in ("layer", "forward_layer", "backward_layer")
            if hasattr(getattr(layer, name, None), "call")
        ]
        stack.extend(one for one in inner if not any(one is other for other in found))
    return found


def _is_standard(layer: Any) -> bool:
    return (
        layer.activation.__name__ == "tanh"
        and layer.recurrent_activation.__name__ == "sigmoid"
        and not layer.stateful
        and getattr(layer, "reset_after", True)
    )


def _kernel(layer: Any, loop: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    is_lstm = type(layer).__name__ == "LSTM"
    cell = layer.cell
    width = cell.kernel.shape[0]
    kind = torch.nn.LSTM if is_lstm else torch.nn.GRU
    kernel = kind(int(width), int(layer.units), batch_first=True)
    _copy_weights(kernel, cell, is_lstm=is_lstm)
    kernel.eval().requires_grad_(False)

    def call(sequences: Any, initial_state: Any = None, mask: Any = None, **more: Any) -> Any:
        if mask is not None or initial_state is not None:
            return loop(sequences, initial_state=initial_state, mask=mask, **more)
        given = torch.flip(sequences, dims=[1]) if layer.go_backwards else sequences
        outputs, states = kernel(given)
        answer = outputs if layer.return_sequences else outputs[:, -1]
        if not layer.return_state:
            return answer
        return [answer, *(state[0] for state in (states if is_lstm else (states,)))]

    return call


def _copy_weights(kernel: Any, cell: Any, *, is_lstm: bool) -> None:
    """Copy weights; Keras has gates along axis 1, and a GRU's first two the other way round."""
    import torch

    units = int(cell.units)
    order = [0, 1, 2, 3] if is_lstm else [1, 0, 2]

    def gates(weights: Any) -> Any:
        """Return (gates * units, …) in torch's order from (…, gates * units)."""
        rows = weights.detach().T.reshape(len(order), units, -1)
        return rows[order].reshape(len(order) * units, -1)

    with torch.no_grad():
        kernel.weight_ih_l0.copy_(gates(cell.kernel.value))
        kernel.weight_hh_l0.copy_(gates(cell.recurrent_kernel.value))
        kernel.bias_ih_l0.zero_()
        kernel.bias_hh_l0.zero_()
        if cell.use_bias:
            # A GRU has one bias for its input and one for its state; an LSTM has one.
            bias = cell.bias.value.detach().reshape(-1, len(order) * units)
            kernel.bias_ih_l0.copy_(gates(bias[0].reshape(1, -1)).reshape(-1))
            if len(bias) > 1:
                kernel.bias_hh_l0.copy_(gates(bias[1].reshape(1, -1)).reshape(-1))
