"""Filters in Qdrant's own JSON: checked before any store sees them, so that every store refuses the same ones.

What is wrong is named by its path. Ids in a filter are the callers' own, and become those that Qdrant knows.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from enginehouse.core.vectors.ids import native
from enginehouse.errors import InvalidRequest

__all__ = ["checked_filter"]

Check = Callable[[Any, str], Any]

_DEEPEST = 16
_LARGEST = 2**63
_CLAUSES = ("must", "should", "must_not")
_BOUNDS = ("lt", "gt", "lte", "gte")


def checked_filter(json: Any, where: str = "filter") -> dict[str, Any]:
    """The filter as stores take it.

    Raises:
        InvalidRequest: it is none; the message names the place.
    """
    return _filter(json, where, 0)


def _filter(json: Any, where: str, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise _wrong(where, f"filters may be nested {_DEEPEST} deep at most")
    fields = _object(json, where, {*_CLAUSES, "min_should"})
    checked: dict[str, Any] = {
        name: _conditions(fields[name], f"{where}.{name}", depth)
        for name in _CLAUSES
        if fields.get(name) is not None
    }
    if (fewest := fields.get("min_should")) is not None:
        checked["min_should"] = _fewest(fewest, f"{where}.min_should", depth)
    if not checked:
        raise _wrong(where, "it has to have must, should, must_not or min_should")
    return checked


def _conditions(json: Any, where: str, depth: int) -> list[dict[str, Any]]:
    """A list of them; Qdrant also takes one alone."""
    items = cast("list[Any]", json) if isinstance(json, list) else [json]
    return [_condition(item, f"{where}[{index}]", depth) for index, item in enumerate(items)]


def _fewest(json: Any, where: str, depth: int) -> dict[str, Any]:
    fields = _object(json, where, {"conditions", "min_count"}, all_of=True)
    return {
        "conditions": _conditions(fields["conditions"], f"{where}.conditions", depth),
        "min_count": _count(fields["min_count"], f"{where}.min_count"),
    }


def _condition(json: Any, where: str, depth: int) -> dict[str, Any]:
    fields = _object(json, where)
    if "key" in fields:
        return _field(fields, where)
    if "has_id" in fields:
        _object(fields, where, {"has_id"})
        ids = _list(fields["has_id"], f"{where}.has_id")
        return {"has_id": [native(item, f"{where}.has_id[{index}]") for index, item in enumerate(ids)]}
    for name in ("is_empty", "is_null"):
        if name in fields:
            _object(fields, where, {name})
            inner = _object(fields[name], f"{where}.{name}", {"key"}, all_of=True)
            return {name: {"key": _text(inner["key"], f"{where}.{name}.key")}}
    if "nested" in fields:
        _object(fields, where, {"nested"})
        inner = _object(fields["nested"], f"{where}.nested", {"key", "filter"}, all_of=True)
        key = _text(inner["key"], f"{where}.nested.key")
        return {"nested": {"key": key, "filter": _filter(inner["filter"], f"{where}.nested.filter", depth + 1)}}
    return _filter(fields, where, depth + 1)


def _field(fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    _object(fields, where, {"key", *_FIELD_CHECKS})
    checked: dict[str, Any] = {"key": _text(fields["key"], f"{where}.key")}
    for name, check in _FIELD_CHECKS.items():
        if fields.get(name) is not None:
            checked[name] = check(fields[name], f"{where}.{name}")
    if len(checked) == 1:
        raise _wrong(where, f"a condition on a field has one of {', '.join(_FIELD_CHECKS)}")
    return checked


def _match(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, set(_MATCH_CHECKS))
    if len(fields) != 1:
        raise _wrong(where, f"it has exactly one of {', '.join(_MATCH_CHECKS)}")
    ((name, value),) = fields.items()
    return {name: _MATCH_CHECKS[name](value, f"{where}.{name}")}


def _value(json: Any, where: str) -> Any:
    if isinstance(json, bool | str) or (isinstance(json, int) and -_LARGEST <= json < _LARGEST):
        return json
    raise _wrong(where, "it has to be a text, a whole number of 64 bits, true or false")


def _values(json: Any, where: str) -> list[Any]:
    items = [_value(item, f"{where}[{index}]") for index, item in enumerate(_list(json, where))]
    if not all(isinstance(item, str) for item in items) and any(type(item) is not int for item in items):
        raise _wrong(where, "it has to hold texts only, or whole numbers only")
    return items


def _range(json: Any, where: str) -> dict[str, Any]:
    fields = {name: bound for name, bound in _object(json, where, set(_BOUNDS)).items() if bound is not None}
    if not fields:
        raise _wrong(where, f"it has at least one of {', '.join(_BOUNDS)}")
    if any(isinstance(bound, str) for bound in fields.values()):
        return {name: _moment(bound, f"{where}.{name}") for name, bound in fields.items()}
    return {name: _number(bound, f"{where}.{name}") for name, bound in fields.items()}


def _moment(json: Any, where: str) -> str:
    text = _text(json, where)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(where, "it has to be a time as ISO 8601 writes it, or a number") from None
    return text


def _counts(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, set(_BOUNDS))
    return {name: _count(bound, f"{where}.{name}") for name, bound in fields.items() if bound is not None}


def _point(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, {"lon", "lat"}, all_of=True)
    checked = {name: _number(fields[name], f"{where}.{name}") for name in ("lon", "lat")}
    if abs(checked["lon"]) > 180 or abs(checked["lat"]) > 90:
        raise _wrong(where, "lon is from -180 to 180 and lat from -90 to 90")
    return checked


def _box(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, {"top_left", "bottom_right"}, all_of=True)
    return {name: _point(fields[name], f"{where}.{name}") for name in ("top_left", "bottom_right")}


def _circle(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, {"center", "radius"}, all_of=True)
    return {
        "center": _point(fields["center"], f"{where}.center"),
        "radius": _number(fields["radius"], f"{where}.radius"),
    }


def _ring(json: Any, where: str) -> dict[str, Any]:
    points = _list(_object(json, where, {"points"}, all_of=True)["points"], f"{where}.points")
    ring = [_point(item, f"{where}.points[{index}]") for index, item in enumerate(points)]
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise _wrong(where, "a ring has at least four points, and its last is its first")
    return {"points": ring}


def _polygon(json: Any, where: str) -> dict[str, Any]:
    fields = _object(json, where, {"exterior", "interiors"})
    holes = _list(fields.get("interiors") or [], f"{where}.interiors")
    checked = {"exterior": _ring(fields.get("exterior"), f"{where}.exterior")}
    inner = [_ring(hole, f"{where}.interiors[{index}]") for index, hole in enumerate(holes)]
    return {**checked, "interiors": inner} if inner else checked


def _object(json: Any, where: str, known: set[str] | None = None, *, all_of: bool = False) -> Mapping[str, Any]:
    if not isinstance(json, dict):
        raise _wrong(where, "it has to be an object")
    fields = cast("dict[str, Any]", json)
    if known is not None and (strange := sorted(set(fields) - known)):
        raise _wrong(where, f"it has no {strange[0]!r}; it may have {', '.join(sorted(known))}")
    if all_of and known is not None and (missing := sorted(known - set(fields))):
        raise _wrong(where, f"{missing[0]!r} is missing")
    return fields


def _list(json: Any, where: str) -> list[Any]:
    if not isinstance(json, list):
        raise _wrong(where, "it has to be a list")
    return cast("list[Any]", json)


def _text(json: Any, where: str) -> str:
    if not isinstance(json, str):
        raise _wrong(where, "it has to be a text")
    return json


def _flag(json: Any, where: str) -> bool:
    if not isinstance(json, bool):
        raise _wrong(where, "it has to be true or false")
    return json


def _number(json: Any, where: str) -> float:
    if isinstance(json, bool) or not isinstance(json, int | float):
        raise _wrong(where, "it has to be a number")
    return float(json)


def _count(json: Any, where: str) -> int:
    if isinstance(json, bool) or not isinstance(json, int) or not 0 <= json < _LARGEST:
        raise _wrong(where, "it has to be a whole number of at least 0")
    return json


def _wrong(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: {why}.", param=where)


_MATCH_CHECKS: Mapping[str, Check] = {
    "value": _value,
    "any": _values,
    "except": _values,
    "text": _text,
    "text_any": _text,
    "phrase": _text,
}
_FIELD_CHECKS: Mapping[str, Check] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": _circle,
    "geo_polygon": _polygon,
    "values_count": _counts,
    "is_empty": _flag,
    "is_null": _flag,
}
