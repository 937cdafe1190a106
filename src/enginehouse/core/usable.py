"""The list as one caller sees it: who may use some models only learns of no other."""

from enginehouse.core.catalogue import Catalogue
from enginehouse.core.identity import check_model, may_name, may_use
from enginehouse.errors import ModelNotFound
from enginehouse.types import Model, Principal

__all__ = ["may_hear_of", "resolved_for", "usable_by"]


def usable_by(principal: Principal, catalogue: Catalogue) -> list[Model]:
    """Every model the caller may use."""
    return [model for model in catalogue.models() if may_use(principal, model)]


def resolved_for(principal: Principal, catalogue: Catalogue, name: str) -> Model:
    """The model of this name.

    Raises:
        ModelNotFound: there is none; what looks alike is named as far as the caller may use it.
        PermissionDenied: the caller may not use it.
    """
    try:
        model = catalogue.resolve(name)
    except ModelNotFound as error:
        near = [other for other in error.near if may_use(principal, catalogue.resolve(other))]
        raise ModelNotFound(name, near) from None
    check_model(principal, model)
    return model


def may_hear_of(principal: Principal, catalogue: Catalogue, id_: str) -> bool:
    """Whether the caller may know of a model; of one that has left the list only its id can say so."""
    model = catalogue.find(id_)
    return may_use(principal, model) if model is not None else may_name(principal, id_)
