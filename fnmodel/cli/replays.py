"""What a rollout that replays needs: rows to fall back on, and what answers are held to."""

import json
from collections.abc import Mapping

from fnmodel.aws import translated
from fnmodel.cli.workspace import Workspace
from fnmodel.model import OnnxModel, Tolerance
from fnmodel.pack.models import digests
from fnmodel.release.move import release_id
from fnmodel.release.publish import Version
from fnmodel.release.replayable import proof_key, proof_rows

_ROWS = 1000
"""Rows of a proof that are kept at most, for a stage without captured ones."""


def prepare(work: Workspace, models: Mapping[str, OnnxModel], candidate: Version) -> None:
    """Keep the rows of the first model's proof where every driver of the rollout finds them."""
    name, model = next(iter(models.items()))
    signature = model.signature
    names = [feature.name for feature in signature.features] if signature.stacked else []
    rows = proof_rows(model.probe(), names)[:_ROWS]
    key = proof_key(release_id(candidate.number, candidate.digest))
    body = json.dumps({"model": name, "records": rows}).encode()
    with translated():
        work.client("s3").put_object(Bucket=work.stack.outputs["Bucket"], Key=key, Body=body)


def tolerance(
    work: Workspace, models: Mapping[str, OnnxModel], stable: Version
) -> Tolerance | None:
    """Return how far answers may lie apart where both versions hold the same model, else None.

    What they hold, the labels of their images say.

    Raises:
        RegistryError: the registry does not give the stable version's.

    """
    registry = work.registry(f"{work.repository_uri()}@{stable.digest}")
    image = registry.image(work.repository, stable.digest, work.store)
    served = digests(image.labels) if image is not None else {}
    # One model has the image's name in both; several have their own.
    if list(served.values()) != [model.digest for model in models.values()]:
        return None
    given = [model.probe()["tolerance"] for model in models.values()]
    return Tolerance(max(one["absolute"] for one in given), max(one["relative"] for one in given))
