"""The twelve functions of the emulator that are replaced, each with its reason.

Everything that fnmodel knows of the emulator's inside stands here. The emulator is pinned exactly,
and `tests/test_local_seam.py` fails on the day one of these functions changes its form or the
emulator learns weights by itself.

    lambda_svc._proxy_url_for            image functions go to a proxy: the emulator's own hook
    lambda_svc._execute_function_proxy   the hook loses error types and log lines; ours keeps both
    lambda_svc._get_func_record_for_ref  an alias with weights names another version now and then,
                                         and the function hears by which alias it was asked
    lambda_svc._invoke                   the same for the Invoke API, which resolves by itself
    lambda_svc._emit_lambda_logs         a log group that was deleted is not made again by what
                                         still ran: a function's role may not make groups
    eventbridge._invoke_target           <aws.scheduler.…> words of a schedule's input are filled
                                         in; a project of CodeBuild is a target, and runs here
    apigateway.handle_execute            throttles, refuses large bodies, checks IAM's signatures
    apigateway._validate_jwt_authorizer  a token's form is checked before its signature
    apigateway._cors_response_headers    a template's names of CORS are not the API's
    apigateway._cors_preflight_response  the same
    apigateway._invoke_lambda_proxy      an integration ends at its timeout; what fails is said in
                                         the API's words, not with the function's error
    cloudwatch._stat_value               a trimmed count, of the values above a bound

The metrics of an invocation by alias and version, and those of its log (EMF), which the emulator
does not make, are given to cloudwatch._store_datum.
"""

import asyncio
import contextvars
import random
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from fnmodel.aws import EMULATOR_KEYS, EMULATOR_REGION
from fnmodel.local import pipeline
from fnmodel.local.dataplane import DataPlane, ThrottledInvokeError
from fnmodel.local.entrance import (
    MAX_BODY,
    Throttle,
    camel,
    path_sent,
    said_instead,
    signature_flaw,
    token_flaw,
)
from fnmodel.local.launch import FunctionVersion
from fnmodel.local.metrics import points
from fnmodel.local.routing import choose
from fnmodel.local.sandbox import Outcome

_invoked_as: contextvars.ContextVar[str] = contextvars.ContextVar("invoked_as", default="")
"""The alias that the Invoke API was called with, while the version it chose is executed."""

_Answer = tuple[int, dict[str, str], bytes]
Build = Callable[[dict[str, Any], str], None]


def install(
    plane: DataPlane,
    point: Callable[[], float] = random.random,
    build: Build = lambda project, given: None,  # noqa: ARG005
) -> None:
    """Replace the emulator's functions in this process.

    `point` gives numbers in [0, 1). `build` takes a project of CodeBuild, and what a rule made of
    its event.
    """
    from ministack.services import cloudwatch_logs, lambda_svc

    by_hook = lambda_svc._proxy_url_for
    by_ref = lambda_svc._get_func_record_for_ref
    by_name = lambda_svc._invoke
    to_group = lambda_svc._emit_lambda_logs

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

    def emit_logs(func: dict[str, Any], *args: Any, **more: Any) -> None:
        group = ((func.get("config") or func).get("LoggingConfig") or {}).get("LogGroup")
        if group is None or group in cloudwatch_logs._log_groups:
            to_group(func, *args, **more)

    lambda_svc._proxy_url_for = proxy_url_for
    lambda_svc._execute_function_proxy = execute
    lambda_svc._get_func_record_for_ref = weighted_ref
    lambda_svc._invoke = weighted_invoke
    lambda_svc._emit_lambda_logs = emit_logs
    _install_targets(build)
    _install_entrance()
    _install_trimmed_counts()


def _install_targets(build: Build) -> None:
    """Let events reach what the emulator's rules do not know."""
    from ministack.services import codebuild, eventbridge

    to_target = eventbridge._invoke_target

    def filled_target(
        target: dict[str, Any], event: dict[str, Any], rule: Any, view: Any = None
    ) -> Any:
        if event.get("Source") == "aws.scheduler" and target.get("Input"):
            target = {**target, "Input": _fill(target["Input"], event)}
        name = pipeline.started_by(target.get("Arn", ""))
        if name is not None:
            made = target.get("InputTransformer")
            view = view or eventbridge._pattern_event_view(event)
            given = eventbridge._apply_input_transformer(made, rule, view) if made else ""
            return build(codebuild._projects.get(name) or {}, given)
        return to_target(target, event, rule, view)

    eventbridge._invoke_target = filled_target


def _install_trimmed_counts() -> None:
    """Let CloudWatch count the values above a bound, `TC(12.5:)`."""
    from ministack.services import cloudwatch

    statistic = cloudwatch._stat_value

    def trimmed(stats: dict[str, Any], stat_name: str, points: Any = None) -> Any:
        matched = re.fullmatch(r"TC\(([0-9.e+-]+):\)", stat_name or "")
        if matched is None:
            return statistic(stats, stat_name, points)
        bound = float(matched[1])
        found = (cloudwatch._point_stats(point) for point in points or ())
        return float(sum(count for count, _, low, _ in found if low > bound))

    cloudwatch._stat_value = trimmed


def _install_entrance() -> None:
    """Put before every HTTP API what stands there in AWS."""
    from ministack.services import apigateway

    throttle = Throttle()
    execute = apigateway.handle_execute
    validate = apigateway._validate_jwt_authorizer
    headers_of = apigateway._cors_response_headers
    preflight_of = apigateway._cors_preflight_response
    invoke = apigateway._invoke_lambda_proxy

    async def guarded_execute(
        api_id: str,
        stage: str,
        path: str,
        method: str,
        headers: dict[str, str],
        body: bytes,
        query_params: dict[str, Any],
        raw_query_string: str | None = None,
    ) -> _Answer:
        settings = (apigateway.stages_for_api(api_id).get(stage) or {}).get("defaultRouteSettings")
        if not throttle.allows(api_id, stage, settings or {}):
            return _said(429, "Too Many Requests")
        if len(body) > MAX_BODY:
            return _said(413, "Request Entity Too Large")
        asks = apigateway.route_authorization_type(api_id, stage, method, path)
        if asks == "AWS_IAM" and method != "OPTIONS":
            flaw = signature_flaw(
                method, path_sent.get(), query_params, headers, body,
                keys=EMULATOR_KEYS, region=EMULATOR_REGION, now=time.time(),
            )  # fmt: skip
            if flaw is not None:
                return _said(403, "Forbidden")
        answer: _Answer = await execute(
            api_id, stage, path, method, headers, body, query_params, raw_query_string
        )
        return answer

    async def strict_validate(
        route: dict[str, Any], authorizer: dict[str, Any], headers: Any, query_params: Any
    ) -> Any:
        token = apigateway._extract_token_from_identity_source(
            authorizer.get("identitySource", []), headers, query_params
        )
        if not token or token_flaw(token) is not None:
            return None, None, _said(401, "Unauthorized")
        return await validate(route, authorizer, headers, query_params)

    async def bounded_invoke(integration: dict[str, Any], *words: Any, **named: Any) -> _Answer:
        limit = int(integration.get("timeoutInMillis") or 30_000) / 1000
        try:
            answer: _Answer = await asyncio.wait_for(invoke(integration, *words, **named), limit)
        except TimeoutError:
            return _said(503, "Service Unavailable")
        instead = said_instead(*answer)
        return answer if instead is None else _said(*instead)

    apigateway.handle_execute = guarded_execute
    apigateway._validate_jwt_authorizer = strict_validate
    apigateway._cors_response_headers = lambda cors_cfg, origin: headers_of(camel(cors_cfg), origin)
    apigateway._cors_preflight_response = lambda cors_cfg, origin: preflight_of(
        camel(cors_cfg), origin
    )
    apigateway._invoke_lambda_proxy = bounded_invoke


def _said(status: int, message: str) -> _Answer:
    """Return an answer of API Gateway's own."""
    return status, {"Content-Type": "application/json"}, orjson.dumps({"message": message})


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
        # The Invoke API goes by `throttle`, Step Functions by `error`.
        said = {"Type": "User", "Reason": reason, "message": str(error)}
        said["errorType"] = "Lambda.TooManyRequestsException"
        return {"throttle": True, "error": True, "body": said}
    called_as = arn.rpartition(":")[2]
    _measure(function, called_as if called_as not in {function.name, version} else "", outcome)
    try:
        body = orjson.loads(outcome.payload) if outcome.payload else None
    except orjson.JSONDecodeError:
        body = outcome.payload.decode("utf-8", "replace")
    # "rie" says that the log already has its START, END and REPORT lines.
    result: dict[str, Any] = {"body": body, "log": outcome.log, "log_source": "rie"}
    if outcome.error:
        result |= {"error": True, "function_error": "Unhandled"}
    return result


def _measure(function: FunctionVersion, alias: str, outcome: Outcome) -> None:
    """Note an invocation's metrics; the same value in the same second is one point, counted."""
    from ministack.services import cloudwatch

    now = float(int(time.time()))
    for point in points(function.name, function.version, alias, outcome):
        dimensions = dict(point.dimensions)
        key = (point.namespace, point.name, cloudwatch._dims_key(dimensions))
        # Three digits are what a percentile is read with.
        value = float(f"{point.value:.3g}")
        last = next(iter(cloudwatch._metric_bucket(key)[-1:]), None)
        if last and (last["Timestamp"], last["Value"]) == (now, value):
            last["Count"] = last.get("Count", 1.0) + 1
            continue
        cloudwatch._store_datum(
            point.namespace, point.name, dimensions, now, "None", None, [value], None, None
        )


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
