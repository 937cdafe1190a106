"""What a request's model means, and whether it is one for what is asked."""

from collections.abc import Collection, Mapping

from enginehouse.core.admission import Admission
from enginehouse.core.catalogue import Catalogue
from enginehouse.core.usable import resolved_for
from enginehouse.errors import InvalidRequest
from enginehouse.types import Kind, Model, Operation, Request

__all__ = ["Naming"]

_KINDS: Mapping[Operation, Collection[Kind]] = {
    Operation.CHAT: {Kind.CHAT},
    Operation.COMPLETION: {Kind.CHAT},
    Operation.COUNT: {Kind.CHAT},
    Operation.EMBEDDING: {Kind.EMBEDDING},
    Operation.RERANK: {Kind.RERANK, Kind.EMBEDDING},
    Operation.CLASSIFICATION: {Kind.CLASSIFIER},
}


class Naming:
    """Knows models by their names.

    Args:
        catalogue: what names mean.
        admission: who may go first.
    """

    def __init__(self, catalogue: Catalogue, admission: Admission) -> None:
        self.catalogue = catalogue
        self._admission = admission

    def resolve(self, request: Request, name: str) -> Model:
        """The model of this name, which has to be one for what is asked.

        Raises:
            ModelNotFound, InvalidRequest: no such model, or it is for something else.
            PermissionDenied: the caller may not use this model, or not claim this priority.
        """
        model = resolved_for(request.principal, self.catalogue, name)
        _check_kind(model, request.operation)
        self._admission.check_claim(request.principal, request.priority)
        return model


def _check_kind(model: Model, operation: Operation) -> None:
    if operation in _KINDS and model.kind not in _KINDS[operation]:
        article = "an" if model.kind is Kind.EMBEDDING else "a"
        raise InvalidRequest(
            f"{model.id!r} is {article} {model.kind.value} model; it cannot be used for {operation.value}.",
            param="model",
        )
