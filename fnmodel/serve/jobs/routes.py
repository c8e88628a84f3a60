"""The paths of asynchronous requests. Their bucket is opened with the first of them."""

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from fnmodel.serve.endpoint import Answer, Call

if TYPE_CHECKING:
    from fnmodel.serve.jobs.jobs import Jobs
    from fnmodel.serve.models import Models


def table(models: "Models") -> list[tuple[str, str, Callable[[Call], Answer]]]:
    """Return method, path and answer of each route."""

    @cache
    def jobs() -> "Jobs":
        from fnmodel.serve.jobs.bucket import opened
        from fnmodel.serve.jobs.jobs import Limits

        limits = Limits.of(os.environ)
        assert limits is not None, "there are routes only where there are limits"
        return opened(frozenset(models.by_name), limits, os.environ)

    of_model, of_job = "/models/{model}/jobs", "/models/{model}/jobs/{job}"
    return [
        ("POST", of_model, lambda call: jobs().create(call)),
        ("GET", of_job, lambda call: jobs().status(call)),
        ("POST", f"{of_job}/start", lambda call: jobs().start(call)),
        ("POST", f"{of_job}/cancel", lambda call: jobs().cancel(call)),
    ]
