"""The paths that take rows by the model's own feature names."""

from typing import Any

from fnmodel.model import Feature, Signature
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.features import schema_of
from fnmodel.serve.openapi.operation import Part, post, renamed
from fnmodel.serve.openapi.schema import TEXT, Names, Schema, array, obj

_TAG, _ABOUT = "predict", "Rows in the model's own feature names, one prediction a row."


def predict_part(model: Described, names: Names) -> Part:
    """Return the paths of `model.predict_at` with their schemas; none without named features."""
    if not model.predict_at:
        return Part(_TAG, _ABOUT, {})
    request = {"records": [model.record]}
    answer = model.answer(model.service.predict, request)
    example = None if answer is None else (request, answer)
    item = post(
        names("predict"),
        f"Predict with {model.name}",
        names.ref("Predict"),
        names.ref("Predictions"),
        example,
    )
    first, *others = model.predict_at
    paths = {first: item}
    for position, path in enumerate(others, start=2):
        paths[path] = renamed(item, names(f"predict{position}"))
    return Part(_TAG, _ABOUT, paths, _schemas(model, names, answered=example is not None))


def _schemas(model: Described, names: Names, *, answered: bool) -> dict[str, Schema]:
    record = _record(model)
    if answered:  # else it may be one that the project's own code refuses
        record["examples"] = [model.record]
    return {
        names("Record"): record,
        names("Predict"): obj(
            {"records": array(names.ref("Record"), description="Rows, in any number.")},
            "records",
            closed=True,
        ),
        names("Prediction"): _prediction(model.signature),
        names("Predictions"): obj(
            {
                "predictions": array(
                    names.ref("Prediction"), description="One a row, in the order of the rows."
                ),
                "model_name": TEXT,
                "model_version": TEXT,
            },
            *("predictions", "model_name", "model_version"),
        ),
    }


def _record(model: Described) -> Schema:
    features: tuple[Feature, ...] = model.signature.asked
    required = [feature.name for feature in features if not feature.nullable]
    properties = {one.name: schema_of(one, model.column(one.name)) for one in features}
    where = f" What was seen is of {model.rows:,} rows of training data." if model.rows else ""
    return {
        "description": f"One row of {model.name}.{where}",
        **obj(properties, *required, closed=True),
    }


def _prediction(signature: Signature) -> Schema:
    if signature.raw:  # the project's own code may make anything of it
        return {"description": "What the project's own code answers to a row."}
    number = {"type": ["number", "null"]}
    if signature.label is not None:
        label: Schema = {"description": "The most probable class."}
        if signature.classes:
            label["enum"] = list(signature.classes)
        if signature.scores is None:
            return obj({"label": label}, "label")
        classes = [str(name) for name in signature.classes]
        scores = obj(dict.fromkeys(classes, number), *classes)
        scores["description"] = "The probability of each class."
        return obj({"label": label, "probabilities": scores}, "label", "probabilities")
    if signature.one_value:
        return obj({"value": _of_output(len(signature.outputs[0].shape) > 2)}, "value")
    outputs: dict[str, Any] = {tensor.name: {} for tensor in signature.outputs}
    return obj(outputs, *outputs)


def _of_output(several: bool) -> Schema:
    text = "The model's answer; null where it is no finite number."
    if several:
        return {"description": text}
    return {"type": ["number", "integer", "array", "null"], "description": text}
