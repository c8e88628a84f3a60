"""The five functions of the emulator that are replaced, each with its reason.

Everything that fnmodel knows of the emulator's inside stands here. The emulator is pinned exactly,
and `tests/test_local_seam.py` fails on the day one of these functions changes its form or the
emulator learns weights by itself.

    lambda_svc._proxy_url_for            image functions go to a proxy: the emulator's own hook
    lambda_svc._execute_function_proxy   the hook loses error types and log lines; ours keeps both
    lambda_svc._get_func_record_for_ref  an alias with weights names another version now and then,
                                         and the function hears by which alias it was asked
    lambda_svc._invoke                   the same for the Invoke API, which resolves by itself
    eventbridge._invoke_target           <aws.scheduler.…> words of a schedule's input are filled in
"""

import contextvars
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from fnmodel.local.dataplane import DataPlane, ThrottledInvokeError
from fnmodel.local.launch import FunctionVersion
from fnmodel.local.routing import choose

_invoked_as: contextvars.ContextVar[str] = contextvars.ContextVar("invoked_as", default="")
"""The alias that the Invoke API was called with, while the version it chose is executed."""


def install(plane: DataPlane, point: Callable[[], float] = random.random) -> None:
    """Replace the emulator's functions in this process. `point` gives numbers in [0, 1)."""
    from ministack.services import eventbridge, lambda_svc

    by_hook = lambda_svc._proxy_url_for
    by_ref = lambda_svc._get_func_record_for_ref
    by_name = lambda_svc._invoke
    to_target = eventbridge._invoke_target

    def proxy_url_for(config: dict[str, Any]) -> Any:
        return "image" if config.get("PackageType") == "Image" else by_hook(config)

    def execute(func: dict[str, Any], event: Any, _url: str, request_id: str) -> dict[str, Any]:
        return _execute(plane, func.get("config") or func, event, request_id)

    def weighted_ref(function_ref: str) -> Any:
        name, _, alias = function_ref.rpartition(":")
        version = _choose(lambda_svc, name.rpartition(":")[2], alias, point)
        if version is None:
            return by_ref(function_ref)
        record, config, function = by_ref(f"{name}:{version}")
        return record, config and {**config, "FunctionArn": function_ref}, function

    async def weighted_invoke(
        name: str,
        event: Any,
        headers: dict[str, str],
        path_qualifier: str | None = None,
        query_params: dict[str, Any] | None = None,
    ) -> Any:
        alias = path_qualifier or lambda_svc._qp_first(query_params or {}, "Qualifier")
        version = _choose(lambda_svc, name, alias, point)
        _invoked_as.set(alias if version else "")
        return await by_name(name, event, headers, version or path_qualifier, query_params)

    def filled_target(
        target: dict[str, Any], event: dict[str, Any], rule: Any, view: Any = None
    ) -> Any:
        if event.get("Source") == "aws.scheduler" and target.get("Input"):
            target = {**target, "Input": _fill(target["Input"], event)}
        return to_target(target, event, rule, view)

    lambda_svc._proxy_url_for = proxy_url_for
    lambda_svc._execute_function_proxy = execute
    lambda_svc._get_func_record_for_ref = weighted_ref
    lambda_svc._invoke = weighted_invoke
    eventbridge._invoke_target = filled_target


def save_state(registry: frozenset[str]) -> frozenset[str]:
    """Write the emulator's state; the registry's only if it holds other blobs than `registry`.

    Returns what the registry holds now, for the next call.
    """
    from ministack import app
    from ministack.core import persistence

    states = app._build_persistence_save_dict()
    save_registry = states.pop("ecr", None)
    if save_registry is not None:
        from ministack.services import ecr

        stores = (ecr._layer_blobs, ecr._manifest_blobs, ecr._images)
        held = frozenset(str(key) for store in stores for key in store._data)
        if held != registry:
            states["ecr"] = save_registry
            registry = held
    persistence.save_all(states)
    return registry


def _choose(
    lambda_svc: Any, name: str, alias: str | None, point: Callable[[], float]
) -> str | None:
    """Return the version for one request to an alias, None when `alias` is none."""
    function = lambda_svc._functions.get(name)
    record = (function or {}).get("aliases", {}).get(alias or "")
    if record is None:
        return None
    weights = (record.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return choose(record["FunctionVersion"], weights, point())


def _execute(
    plane: DataPlane, config: dict[str, Any], event: Any, request_id: str
) -> dict[str, Any]:
    """Run an image function; the answer is in the form that the emulator's executors return."""
    version = config.get("Version", "$LATEST")
    image = (
        config.get("ImageConfigResponse", {}).get("ImageConfig") or config.get("ImageConfig") or {}
    )
    function = FunctionVersion(
        name=config["FunctionName"],
        version=version,
        image_uri=config["ImageUri"],
        memory=int(config.get("MemorySize") or 128),
        timeout=int(config.get("Timeout") or 3),
        environment=(config.get("Environment") or {}).get("Variables") or {},
        command=tuple(image.get("Command") or ()),
        snapstart=version != "$LATEST"
        and (config.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions",
    )
    arn = config.get("FunctionArn", "")
    if alias := _invoked_as.get():
        arn = f"{arn.removesuffix(f':{version}')}:{alias}"
    try:
        outcome = plane.invoke(function, arn, orjson.dumps(event), request_id)
    except ThrottledInvokeError as error:
        reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
        return {"throttle": True, "body": {"Type": "User", "Reason": reason, "message": str(error)}}
    try:
        body = orjson.loads(outcome.payload) if outcome.payload else None
    except orjson.JSONDecodeError:
        body = outcome.payload.decode("utf-8", "replace")
    # "rie" says that the log already has its START, END and REPORT lines.
    result: dict[str, Any] = {"body": body, "log": outcome.log, "log_source": "rie"}
    if outcome.error:
        result |= {"error": True, "function_error": "Unhandled"}
    return result


def _fill(text: str, event: dict[str, Any]) -> str:
    """Replace the context words of EventBridge Scheduler in a target's input.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    now = datetime.fromtimestamp(event["Time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = {
        "schedule-arn": (event.get("Resources") or [""])[0],
        "scheduled-time": now,
        "execution-id": str(uuid.uuid4()),
        "attempt-number": "1",
    }
    for word, value in words.items():
        text = text.replace(f"<aws.scheduler.{word}>", value)
    return text
