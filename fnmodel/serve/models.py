"""All models of an image: what the endpoint answers for them together, and who answers for one.

An image has one model, or several by name. Paths without a name are the first one's.
"""

import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.errors import CapacityError, FnmodelError
from fnmodel.serve import tensors
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.model import Model
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.service import Service

if TYPE_CHECKING:
    from fnmodel.serve.openapi.document import Document

Answering = Callable[[Service, Call], Answer]
"""What answers for one model: a function of its service."""


def folders(environ: Mapping[str, str]) -> dict[str, Path]:
    """Return the model directories of an image by the models' names, the first one first.

    FNMODEL_MODELS names several, with commas, each below FNMODEL_MODEL_DIR; without it there is
    one, FNMODEL_MODEL_NAME, in that folder.
    """
    root = Path(environ.get("FNMODEL_MODEL_DIR", "/opt/ml/model"))
    names = environ.get("FNMODEL_MODELS")
    if not names:
        return {environ.get("FNMODEL_MODEL_NAME", "model"): root}
    return {name: root / name for name in names.split(",")}


class Opening:
    """Opens a model directory when it is first asked for the model: once, for all threads.

    What cannot be loaded is not tried again, but for want of memory, which may be there later.
    """

    def __init__(self, folder: Path, open_folder: Callable[[Path], Model] = Model.load) -> None:
        self._folder = folder
        self._open_folder = open_folder
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._reason = ""

    def __call__(self) -> Model:
        """Return the model.

        Raises:
            RefusalError: 503, it cannot be loaded; the log has the reason.

        """
        if self._model is None:
            with self._lock:
                self._open()
        if self._model is None:
            raise RefusalError(503, self._reason)
        return self._model

    def _open(self) -> None:
        if self._model is not None or self._reason:
            return  # another thread was first
        try:
            self._model = self._open_folder(self._folder)
        except (CapacityError, MemoryError) as error:
            traceback.print_exception(error, file=sys.stderr)
            raise RefusalError(503, "there is no memory left to load this model") from error
        except (FnmodelError, OSError) as error:
            traceback.print_exception(error, file=sys.stderr)
            code = error.code if isinstance(error, FnmodelError) else type(error).__name__
            self._reason = f"the model cannot be loaded ({code}); its log has the reason"


@dataclass(frozen=True)
class Models:
    """The services of an image by name, and the answers that are not of one of them.

    `named` says that the image names its models, which have to be told apart in logs and metrics.
    """

    services: tuple[Service, ...]
    named: bool = False
    takes_jobs: bool = False

    @cached_property
    def by_name(self) -> Mapping[str, Service]:
        """The services by the names of their models."""
        return {service.name: service for service in self.services}

    @property
    def first(self) -> Service:
        """The one that paths without a name are for."""
        return self.services[0]

    @property
    def version(self) -> str:
        """The version that callers see; all models of an image have it."""
        return self.first.version

    @property
    def limit(self) -> int:
        """The bytes that a body may have."""
        return self.first.limit

    def find(self, name: object) -> Service:
        """Return the service of one model; `name` is what a caller wrote, of any type.

        Raises:
            RefusalError: 404, there is no such model.

        """
        service = self.by_name.get(name) if isinstance(name, str) else None
        if service is None:
            known = ", ".join(map(repr, self.by_name))
            these = "these are" if len(self.services) > 1 else "this is"
            raise RefusalError(404, f"there is no such model; {these} {known}")
        return service

    def load(self) -> dict[str, Model]:
        """Load all models now, and return by name those that could be; the log has the others."""
        found = {}
        for service in self.services:
            with suppress(RefusalError):  # who asks for it is told so
                found[service.name] = service.loaded
        return found

    def called(self, answering: Answering) -> Callable[[Call], Answer]:
        """Return what has the model that a path names answer."""

        def answer(call: Call) -> Answer:
            return answering(self.find(call.path["model"]), call)

        return answer

    def live(self, _: Call) -> Answer:
        """Say that the process answers."""
        return Answer.of({"live": True})

    def ready(self, call: Call) -> Answer:  # noqa: ARG002
        """Say that all models are ready, as the protocol means it; those that are not are loaded.

        Raises:
            RefusalError: 503, one cannot be loaded.

        """
        for service in self.services:
            try:
                _ = service.loaded
            except RefusalError as error:
                name = f"{service.name}: " if self.named else ""
                raise RefusalError(error.status, f"{name}{error.text}") from error
        # The text of the protocol asks for `live`, its clients for `ready`.
        return Answer.of({"live": True, "ready": True})

    def server(self, _: Call) -> Answer:
        """Answer what the server is."""
        return Answer.of(
            {"name": "fnmodel", "version": self.version, "extensions": tensors.EXTENSIONS}
        )

    def openapi(self, call: Call) -> Answer:
        """Answer the OpenAPI document of all models that can be loaded.

        Raises:
            RefusalError: 503, none can.

        """
        return Answer.of(self._document(call))

    def docs(self, call: Call) -> Answer:
        """Answer the page that shows the document, and tries it.

        Raises:
            RefusalError: 503, no model can be loaded.

        """
        from fnmodel.serve.docs.page import page

        return page(self._document(call))

    def _document(self, call: Call) -> "Document":
        from fnmodel.serve.origin import access_of, server_of

        return self._documents(access_of(call.gateway), server_of(call.gateway))

    @cached_property
    def _documents(self) -> "Callable[[str, str], Document]":
        from fnmodel.serve.openapi.described import Described
        from fnmodel.serve.openapi.document import document

        found = self.load()
        if not found:
            _ = self.first.loaded
        described = [
            Described(self.by_name[name], model, predict_at=self._predict_at(name))
            for name, model in found.items()
        ]

        @lru_cache(maxsize=4)
        def written(access: str, server: str) -> "Document":
            return document(described, access=access, server=server, jobs=self.takes_jobs)

        return written

    def _predict_at(self, name: str) -> tuple[str, ...]:
        own = f"/models/{name}/predict"
        return ("/predict", own) if name == self.first.name else (own,)
