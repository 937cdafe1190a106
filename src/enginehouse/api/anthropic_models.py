"""The list of models as Anthropic's clients read it, page by page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from enginehouse.errors import InvalidRequest
from enginehouse.types import Model

__all__ = ["PAGE", "model_info", "models_page"]

PAGE = 20
"""Models of one page, when its reader does not say."""


def models_page(models: Sequence[Model], limit: int, after: str | None, before: str | None) -> dict[str, Any]:
    """So many of them, after the one of an id, or up to the one of another.

    Raises:
        InvalidRequest: there is none of such an id; `param` says which.
    """
    ids = [model.id for model in models]
    begin = _place(ids, after, "after_id") + 1 if after else 0
    end = _place(ids, before, "before_id") if before else len(ids)
    backwards = before is not None and after is None
    shown = models[max(begin, end - limit) : end] if backwards else models[begin : min(end, begin + limit)]
    return {
        "data": [model_info(model) for model in shown],
        "has_more": end - begin > limit,
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
    }


def model_info(model: Model) -> dict[str, Any]:
    """One of them."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name or model.id,
        "created_at": datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": model.context_length,
        "max_tokens": model.max_tokens,
    }


def _place(ids: Sequence[str], wanted: str, param: str) -> int:
    try:
        return ids.index(wanted)
    except ValueError:
        raise InvalidRequest(f"{param}: there is no model {wanted!r} in the list.", param=param) from None
