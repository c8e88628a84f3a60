"""The seam in the emulator: twelve functions of another package, watched."""

import inspect
from collections import Counter

import pytest
from ministack.services import apigateway, cloudwatch, eventbridge, lambda_svc

from fnmodel.local.routing import choose

EXPECTED = {
    lambda_svc._proxy_url_for: ["config"],
    lambda_svc._execute_function_proxy: ["func", "event", "url", "request_id"],
    lambda_svc._get_func_record_for_ref: ["function_ref"],
    lambda_svc._invoke: ["name", "event", "headers", "path_qualifier", "query_params"],
    lambda_svc._emit_lambda_logs: [
        "func", "request_id", "log_text", "error", "duration_ms", "log_source",
    ],
    eventbridge._invoke_target: ["target", "event", "rule", "view"],
    eventbridge._apply_input_transformer: ["transformer", "rule", "view"],
    eventbridge._pattern_event_view: ["event"],
    apigateway.handle_execute: [
        "api_id", "stage", "path", "method", "headers", "body", "query_params", "raw_query_string",
    ],
    apigateway._validate_jwt_authorizer: ["route", "authorizer", "headers", "query_params"],
    apigateway._cors_response_headers: ["cors_cfg", "origin"],
    apigateway._cors_preflight_response: ["cors_cfg", "origin"],
    cloudwatch._stat_value: ["stats", "stat_name", "points"],
    cloudwatch._store_datum: [
        "namespace", "name", "dims", "ts", "unit", "value", "values", "counts", "stat_values",
    ],
    cloudwatch._metric_bucket: ["key"],
    cloudwatch._dims_key: ["dims"],
    cloudwatch._point_stats: ["pt"],
}  # fmt: skip


@pytest.mark.parametrize("function", EXPECTED, ids=lambda f: f.__name__)
def test_a_replaced_function_still_has_its_form(function: object) -> None:
    """A new form of one of them means that the seam must be looked at again."""
    assert list(inspect.signature(function).parameters) == EXPECTED[function]  # type: ignore[arg-type]


def test_the_emulator_still_ignores_weights() -> None:
    """On the day it honours them by itself, two of the five replacements can go."""
    for function in (lambda_svc._effective_func_record_for_qualifier, lambda_svc._invoke):
        assert "RoutingConfig" not in inspect.getsource(function)


def test_the_split_follows_the_weights() -> None:
    """Points spread evenly over [0, 1) meet each version as often as its weight says."""
    points = [i / 1000 for i in range(1000)]

    assert Counter(choose("1", {"2": 0.1}, p) for p in points) == {"1": 900, "2": 100}
    assert Counter(choose("1", {}, p) for p in points) == {"1": 1000}
    assert Counter(choose("1", {"2": 0.25, "3": 0.5}, p) for p in points) == {
        "1": 250, "2": 250, "3": 500,
    }  # fmt: skip
