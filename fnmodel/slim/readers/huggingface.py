"""Hugging Face folders: configuration, weights, and the tokenizer in front, as steps of our own."""

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.front.front import VERSION
from fnmodel.inference import Predictor
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.slim import sample as samples
from fnmodel.slim.networks import network, tensors, tokenizer, torch_export
from fnmodel.slim.networks.tensors import Arrays
from fnmodel.slim.networks.torch_export import Net, call
from fnmodel.slim.proof.hostile import HOSTILE
from fnmodel.slim.proof.parity import best_two_margin
from fnmodel.slim.readers.torch import require, timed
from fnmodel.slim.subject import Candidate, Converted, Origin, Questions, Subject

Array = NDArray[Any]

_TEXT = "text"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer_config.json")
_TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BY_TOKEN = ("ForTokenClassification", "LMHeadModel", "ForMaskedLM", "ForCausalLM", "CTC")
_LARGEST_JSON = 1 << 24
_ROWS = 24
_TOKENS = 9
_SAMPLES = 8000
_SENTENCES = (
    "The parcel came late, and the box was wet.",
    "I would buy it again at once!",
    "Is there a smaller one?",
    "no",
    "Der Zug nach Köln fährt um 7:45 Uhr ab.",
    "Total: 1,299.00 EUR (incl. 19 % VAT), invoice no. 2024-117.",
    "Nothing here says whether its writer was pleased, and yet it goes on, with more tokens.",
)


@dataclass(frozen=True)
class _Head:
    """What a model's class gives: the outputs, and the words of its labels if it has classes."""

    outputs: tuple[str, ...]
    of: Callable[[Any, Mapping[str, Any]], tuple[Any, ...]]
    labels: tuple[str, ...] = ()
    by_token: bool = False


def subject(
    path: Path,
    *,
    sample: Path | None,
    target: str | None = None,
    trust: frozenset[str] = frozenset(),  # noqa: ARG001 (a folder's own code is never run)
) -> Subject:
    """Open a Hugging Face or sentence-transformers folder with its questions.

    A folder with a tokenizer takes texts: the tokenizer becomes a step in front of the graph. With
    a sample of arrays (`.npz`) the model takes these, token ids say, and the tokenizer stays with
    the caller.

    Raises:
        SlimError: the folder or the sample is broken, or they do not fit together.
        UnsupportedModelError: it needs code of its own, weights are missing, or the tokenizer or
            the model is of a kind that cannot be converted; names it.
        MissingExtraError: transformers, torch or onnx is not installed.

    """
    require("huggingface", "transformers", "torch", "onnx", "onnxscript", "safetensors")
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch_export.prepare()
    inner, pooling = _sentence_parts(path)
    model = _load(inner)
    head = _head(model, pooling)
    as_text = _has_tokenizer(inner) and (sample is None or sample.suffix not in (".npz", ".npy"))
    if model.main_input_name != "input_ids":
        as_text = False
    if as_text and head.by_token:
        raise UnsupportedModelError(
            f"a {type(model).__name__} answers for each token, and callers who send text do not "
            "see tokens",
            hint="give a sample of token ids (.npz), or a folder that pools them "
            "(sentence-transformers)",
        )
    if as_text:
        return _of_texts(inner, model, head, sample, target)
    return _of_arrays(inner, model, head, sample, target)


def _of_arrays(
    path: Path, model: Any, head: _Head, sample: Path | None, target: str | None
) -> Subject:
    names = _inputs(model)
    given = tensors.read(sample, target) if sample else tensors.Sample(_drawn(model, names))
    where = sample.name if sample else path.name
    arrays = tensors.fit(given, names[:1], names[1:], where)
    kinds = {"f": np.float32}
    arrays = {n: a.astype(kinds.get(a.dtype.kind, np.int64)) for n, a in arrays.items()}
    module = _module(model, head, tuple(arrays))
    rows = tensors.rows_of(arrays)
    answer = _answering(module, head)
    try:
        expected = tensors.ask(answer, rows.arrays)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise SlimError(
            f"the model fails on {where}: {network.first_line(error)}",
            hint="the sample must look like the training data; is `target:` right?",
        ) from error
    example = tensors.repeat(arrays, 3)
    declared = {n: frozenset({1}) if a.ndim == 2 else frozenset() for n, a in arrays.items()}
    net = Net(module, example, head.outputs, torch_export.flexible_axes(answer, example, declared))
    ways = torch_export.candidates(net, _sign(head), finish=_finish(head), trusted=True)
    questions = tensors.questions(rows, expected, notes=given.notes, margin=_margin(head, expected))
    return _subject(path, model, ways, questions, timed(answer, arrays), sample, given.labels)


def _of_texts(
    inner: Path, model: Any, head: _Head, sample: Path | None, target: str | None
) -> Subject:
    texts, column, labels = _texts(sample, target)
    known = [name for name in _TOKEN_INPUTS if name in _arguments(model)]
    step = tokenizer.tokenizer_steps(inner, column=column)[0]
    names = tuple(name for name in step["gives"] if name in known)
    steps = [{**step, "gives": list(names), "outputs": list(names)}]
    cut = tokenizer.reader(inner, names, step["max_length"])
    module = _module(model, head, names)
    ask = _answering(module, head)

    def answer(asked: Arrays) -> dict[str, Any]:
        return ask(cut([str(text) for text in asked[column]]))

    strange = [text for text in HOSTILE if text and text.isprintable()]
    every = np.array([*texts, *strange], dtype=object)
    expected = tensors.ask(answer, {column: every})
    rng = np.random.default_rng(0)
    vocabulary = int(model.config.get_text_config().vocab_size)
    example = {
        name: rng.integers(0, vocabulary, (3, _TOKENS)) if name == "input_ids"
        else np.full((3, _TOKENS), int(name == "attention_mask"))
        for name in names
    }  # fmt: skip
    if "attention_mask" in example:
        example["attention_mask"][1, -3:] = 0
    net = Net(module, example, head.outputs, dict.fromkeys(names, frozenset({1})))
    ways = torch_export.candidates(net, _sign(head), finish=_finish(head), trusted=True)
    front = {"version": VERSION, "steps": steps}
    feature = Feature(column, "BYTES")

    def fronted(way: Candidate) -> Candidate:
        def convert() -> Converted:
            done = way.convert()
            inputs = (Tensor(column, "BYTES", (-1, 1)),)
            signature = replace(done.signature, inputs=inputs, features=(feature,))
            return replace(
                done, signature=signature, front=front, how=f"{done.how}, tokenizer in front"
            )

        return Candidate(f"{way.how}, tokenizer in front", convert)

    def encode(predictor: Predictor) -> dict[str, Array]:
        return predictor.encode([{column: text} for text in every])

    origin: list[Origin] = ["sample" for _ in texts]
    origin += ["unseen" for _ in strange]
    questions = Questions(
        origin=tuple(origin),
        index=(*range(len(texts)), *(0 for _ in strange)),
        changed=(*(() for _ in texts), *((column,) for _ in strange)),
        expected=expected,
        encode=encode,
        margin=_margin(head, expected),
    )
    fitted = tuple(fronted(way) for way in ways)
    arrays = {column: np.array(texts, dtype=object)}
    return _subject(inner, model, fitted, questions, timed(answer, arrays), sample, labels)


def _subject(
    folder: Path,
    model: Any,
    ways: tuple[Candidate, ...],
    questions: Questions,
    answer: Callable[[int], Callable[[], object]],
    sample: Path | None,
    labels: Array | None,
) -> Subject:
    import transformers

    return Subject(
        framework="Hugging Face",
        version=transformers.__version__,
        family=torch_export.family(model.modules()),
        candidates=ways,
        questions=questions,
        answer=answer,
        open=lambda: _load(folder),
        rows_from=sample.name if sample else "texts and arrays of our own",
        labels=labels,
    )


# The folder.


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise SlimError(f"{path.name} is larger than any that a model has")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SlimError(
            f"{path.name} cannot be read as JSON", hint="download or save the folder again"
        ) from error


def _sentence_parts(path: Path) -> tuple[Path, Mapping[str, Any] | None]:
    """Return the transformer's folder, and what a sentence-transformers folder does behind it.

    Raises:
        UnsupportedModelError: it does more than pool and normalise.

    """
    if not (path / "modules.json").is_file():
        return path, None
    inner, pooling = path, None
    normalise = False
    for part in _json(path / "modules.json"):
        kind = str(part.get("type", "")).rpartition(".")[2]
        place = PurePosixPath(str(part.get("path", "")))
        if place.is_absolute() or ".." in place.parts:
            raise SlimError(f"modules.json leads out of the folder: {place}")
        if kind == "Transformer":
            inner = path / place
        elif kind == "Pooling":
            pooling = _json(path / place / "config.json")
        elif kind == "Normalize":
            normalise = True
        else:
            raise UnsupportedModelError(
                f"the step {kind!r} of this sentence-transformers folder has no converter",
                hint="fnmodel converts Transformer, Pooling and Normalize",
            )
    if pooling is None:
        return inner, None
    return inner, {**pooling, "normalise": normalise}


def _load(folder: Path) -> Any:
    """Load a folder's model in float32, from its own files alone.

    Raises:
        SlimError: files are missing or broken.
        UnsupportedModelError: it has Python code of its own, or is of an unknown class.

    """
    import torch
    import transformers

    config = _json(folder / "config.json")
    if not isinstance(config, dict) or "auto_map" in config:
        raise UnsupportedModelError(
            f"{folder.name} brings Python code of its own (auto_map), which is not run",
            hint="save the model as one of transformers' own classes",
        )
    names = [str(name) for name in config.get("architectures") or ()]
    kind = getattr(transformers, names[0], None) if names else transformers.AutoModel
    own = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if kind is None or not (own or kind is transformers.AutoModel):
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} has no model class {names[0]!r}",
            hint="pip install --upgrade transformers, or save the model as a class that it has",
        )
    transformers.logging.set_verbosity_error()
    try:
        model, told = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:
        # It raises OSError, ValueError, KeyError, and classes of torch and safetensors.
        raise SlimError(
            f"{folder.name} cannot be loaded: {network.first_line(error)}",
            hint="a folder needs config.json and model.safetensors; download or save it again",
        ) from error
    missing = sorted(str(name) for name in told["missing_keys"])
    # Base models are often saved without the pooler, which nothing here asks.
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise UnsupportedModelError(
            f"{folder.name} lacks weights of its {type(model).__name__}: {', '.join(missing[:3])}",
            hint="fine-tune and save the model: such weights would be random",
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"a {type(model).__name__} writes its answer word by word, in a loop around the model",
            hint="fnmodel serves encoders, classifiers and embeddings",
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model.eval().requires_grad_(False)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _arguments(model: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(model.forward).parameters)


def _inputs(model: Any) -> tuple[str, ...]:
    if model.main_input_name != "input_ids":
        return (model.main_input_name,)
    types = int(getattr(model.config, "type_vocab_size", 0) or 0)
    known = _TOKEN_INPUTS if types > 1 else _TOKEN_INPUTS[:2]
    return tuple(name for name in known if name in _arguments(model))


def _drawn(model: Any, names: Sequence[str]) -> dict[str, Array]:
    """Return seeded random inputs of the shapes that the configuration says.

    Raises:
        SlimError: it says none.

    """
    rng = np.random.default_rng(0)
    config = model.config
    if names[0] == "input_ids":
        vocabulary = int(config.get_text_config().vocab_size)
        drawn = {"input_ids": rng.integers(0, vocabulary, (_ROWS, _TOKENS))}
        for name in names[1:]:
            drawn[name] = np.full((_ROWS, _TOKENS), int(name == "attention_mask"))
        return drawn
    if names[0] == "pixel_values" and hasattr(config, "image_size"):
        size = config.image_size
        high, wide = size if isinstance(size, list | tuple) else (size, size)
        shape = (_ROWS // 2, int(getattr(config, "num_channels", 3)), int(high), int(wide))
        return {names[0]: rng.normal(size=shape).astype(np.float32)}
    if names[0] == "input_values":
        return {names[0]: rng.normal(size=(_ROWS // 4, _SAMPLES)).astype(np.float32)}
    raise SlimError(
        f"this model does not say what its input {names[0]!r} looks like", hint=tensors.GIVE_ONE
    )


def _texts(path: Path | None, target: str | None) -> tuple[list[str], str, Array | None]:
    """Return texts, the name of their column, and labels."""
    if path is None:
        return [*_SENTENCES], _TEXT, None
    frame = samples.read(path, [_TEXT])
    rest = [name for name in frame.columns if name != target]
    column = _TEXT if _TEXT in rest else rest[0] if len(rest) == 1 else None
    if column is None:
        raise SlimError(
            f"{path.name} has columns {', '.join(map(repr, rest[:5]))}, and none is called 'text'",
            hint="name the column of texts `text`",
        )
    kept = frame[frame[column].notna()].head(1000)
    labels = kept[target].to_numpy() if target is not None and target in kept else None
    return [str(text) for text in kept[column]], column, labels


# What the model gives.


def _head(model: Any, pooling: Mapping[str, Any] | None) -> _Head:
    kind = type(model).__name__
    if pooling is not None:
        return _Head(("embedding",), _pooled(pooling))
    if kind.endswith(("ForSequenceClassification", "ForImageClassification")):
        return _classifier(model)
    if kind.endswith(_BY_TOKEN):
        return _Head(("logits",), lambda out, _: (out.logits,), by_token=True)
    if kind.endswith("Model"):
        return _Head(("last_hidden_state",), lambda out, _: (out.last_hidden_state,), by_token=True)
    raise UnsupportedModelError(
        f"a {kind} has outputs that fnmodel does not know",
        hint="fnmodel converts sequence, token and image classifiers, encoders, and embeddings",
    )


def _classifier(model: Any) -> _Head:
    config = model.config
    count = int(config.num_labels)
    problem = getattr(config, "problem_type", None)
    if problem == "regression" or (problem is None and count == 1):
        return _Head(("value",), lambda out, _: (out.logits,))
    if problem == "multi_label_classification":
        return _Head(("probabilities",), lambda out, _: (out.logits.sigmoid(),))
    labels = tuple(str(config.id2label.get(i, i)) for i in range(count))
    if len(set(labels)) < len(labels):
        raise UnsupportedModelError(
            "two labels in id2label of config.json have the same name", hint="mend config.json"
        )

    def chances(out: Any, _: Mapping[str, Any]) -> tuple[Any, ...]:
        return out.logits.argmax(-1), out.logits.softmax(-1)

    return _Head(("label", "probabilities"), chances, labels)


def _pooled(pooling: Mapping[str, Any]) -> Callable[[Any, Mapping[str, Any]], tuple[Any, ...]]:
    """Return the pooling of token vectors that a sentence-transformers folder asks for."""
    chosen = [
        name.removeprefix("pooling_mode_")
        for name, value in pooling.items()
        if name.startswith("pooling_mode_") and value is True
    ] or [str(pooling.get("pooling_mode"))]
    mode = chosen[0].removesuffix("_tokens").removesuffix("_token")
    if len(chosen) > 1 or mode not in ("mean", "cls", "max"):
        raise UnsupportedModelError(
            f"the pooling {' and '.join(chosen)} has no converter",
            hint="fnmodel pools by mean, by maximum, and by the first token",
        )

    def pool(out: Any, given: Mapping[str, Any]) -> tuple[Any, ...]:
        import torch

        vectors = out.last_hidden_state
        mask = given["attention_mask"].unsqueeze(-1).to(vectors.dtype)
        if mode == "cls":
            pooled = vectors[:, 0]
        elif mode == "max":
            pooled = vectors.masked_fill(mask == 0, -1e9).max(1).values
        else:
            pooled = (vectors * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        if pooling["normalise"]:
            pooled = torch.nn.functional.normalize(pooled, p=2, dim=1)
        return (pooled,)

    return pool


def _module(model: Any, head: _Head, names: tuple[str, ...]) -> Any:
    """Return a module that takes tensors by position and gives the head's outputs."""
    import torch

    class Headed(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *given: Any) -> tuple[Any, ...]:
            named = dict(zip(names, given, strict=True))
            return head.of(self.inner(**named, return_dict=True), named)

    return Headed().eval()


def _answering(module: Any, head: _Head) -> Callable[[Arrays], dict[str, Any]]:
    def answer(asked: Arrays) -> dict[str, Any]:
        found = dict(zip(head.outputs, call(module, asked), strict=True))
        if head.labels:
            found["label"] = np.array(head.labels, dtype=object)[found["label"]]
        return found

    return answer


def _finish(head: _Head) -> Callable[[Any], None] | None:
    """Return what gives a classifier's label its word, in place of its position."""
    if not head.labels:
        return None

    def finish(model: Any) -> None:
        from onnx import TensorProto, helper

        graph = model.graph
        for node in graph.node:
            node.output[:] = ["label_index" if n == "label" else n for n in node.output]
            node.input[:] = ["label_index" if n == "label" else n for n in node.input]
        words = [label.encode() for label in head.labels]
        graph.initializer.append(
            TensorProto(name="label_words", data_type=8, dims=[len(words)], string_data=words)
        )
        graph.node.append(
            helper.make_node("Gather", ["label_words", "label_index"], ["label"], name="label_word")
        )
        output = next(value for value in graph.output if value.name == "label")
        output.type.tensor_type.elem_type = TensorProto.STRING

    return finish


def _sign(head: _Head) -> torch_export.Sign:
    def sign(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Signature:
        if head.labels:
            return Signature(
                "classification", inputs, outputs,
                classes=head.labels, label="label", scores="probabilities",
            )  # fmt: skip
        return Signature("other", inputs, outputs)

    return sign


def _margin(head: _Head, expected: Arrays) -> Array | None:
    return best_two_margin(expected["probabilities"]) if head.labels else None
