"""Lambda SnapStart: what is done once before the snapshot, and in each copy of it afterwards.

All copies begin with the same memory. What the kernel is asked for is fresh in each (`os.urandom`,
`secrets`, `uuid.uuid4`); what a process keeps of its own is not (`random`, numpy's old generator,
OpenSSL's). No connection is open by then: boto3 comes with the first batch event. A project's
`processing.py` may register hooks of its own.
"""

import gc
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from snapshot_restore_py import register_after_restore, register_before_snapshot

from fnmodel.binary import without_halves
from fnmodel.model import PROBE
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.models import Models
from fnmodel.serve.service import Service


def register(models: Models) -> None:
    """Have the runtime warm the models before the snapshot, and renew randomness after it."""
    register_before_snapshot(warm, models)
    register_after_restore(renew)


def warm(models: Models) -> None:
    """Answer each model's own probe, so that the snapshot holds what a first request touches.

    A model that fails at it fails here, and its version is never published; one that could not be
    loaded answers 503.

    Raises:
        InputError: a model refuses its probe.

    """
    for name, model in models.load().items():
        assert model.folder is not None  # it was loaded from there
        _warm(models.find(name), json.loads((model.folder / PROBE).read_bytes()))
    gc.collect()
    gc.freeze()


def _warm(service: Service, probe: Mapping[str, Any]) -> None:
    if probe.get("request"):
        body, head = without_halves(probe["request"])
        headers = {b"inference-header-content-length": str(head or len(body)).encode()}
        service.infer(Call({"model": service.name}, headers, body))
    if probe.get("records"):
        records = Answer.of({"records": probe["records"]}).body
        service.predict(Call({}, {}, records))


def renew() -> None:
    """Give this copy random numbers of its own."""
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            sys.modules[name].seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)
