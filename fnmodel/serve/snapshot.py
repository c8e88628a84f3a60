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
from pathlib import Path

from snapshot_restore_py import register_after_restore, register_before_snapshot

from fnmodel.binary import without_halves
from fnmodel.model import PROBE
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.model import Model
from fnmodel.serve.service import Service


def register(model: Model | None, folder: Path) -> None:
    """Have the runtime warm the model before the snapshot, and renew randomness after it."""
    if model is not None:
        register_before_snapshot(warm, model, folder)
    register_after_restore(renew)


def warm(model: Model, folder: Path) -> None:
    """Answer the model's own probe, so that the snapshot holds what a first request touches.

    A model that fails at it fails here, and its version is never published.

    Raises:
        InputError: the model refuses its probe.

    """
    probe = json.loads((folder / PROBE).read_bytes())
    service = Service(model, "model", "1")
    if probe.get("request"):
        body, head = without_halves(probe["request"])
        headers = {b"inference-header-content-length": str(head or len(body)).encode()}
        service.infer(Call({"model": "model"}, headers, body))
    if probe.get("records"):
        records = Answer.of({"records": probe["records"]}).body
        service.predict(Call({}, {}, records))
    gc.collect()
    gc.freeze()


def renew() -> None:
    """Give this copy random numbers of its own."""
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            sys.modules[name].seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)
