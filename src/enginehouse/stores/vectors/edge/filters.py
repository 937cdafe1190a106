"""Qdrant's filter JSON as objects of the embedded index."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import qdrant_edge as edge

__all__ = ["edge_filter"]

Json: TypeAlias = Mapping[str, Any]

_MATCHES: Mapping[str, Callable[[Any], Any]] = {
    "value": edge.MatchValue,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
}


def edge_filter(json: Json) -> edge.Filter:
    """A checked filter.

    Raises:
        ValueError, TypeError: a key is no path, or a time is none.
    """
    fewest = json.get("min_should")
    return edge.Filter(
        must=_conditions(json, "must"),
        should=_conditions(json, "should"),
        must_not=_conditions(json, "must_not"),
        min_should=None
        if fewest is None
        else edge.MinShould([_condition(item) for item in fewest["conditions"]], fewest["min_count"]),
    )


def _conditions(json: Json, name: str) -> list["edge.ConditionType"] | None:
    return [_condition(item) for item in json[name]] if name in json else None


def _condition(json: Json) -> "edge.ConditionType":
    if "key" in json:
        return _field(json)
    if "has_id" in json:
        return edge.HasIdCondition(set(json["has_id"]))
    if "is_empty" in json:
        return edge.IsEmptyCondition(json["is_empty"]["key"])
    if "is_null" in json:
        return edge.IsNullCondition(json["is_null"]["key"])
    if "nested" in json:
        return edge.NestedCondition(json["nested"]["key"], edge_filter(json["nested"]["filter"]))
    return edge_filter(json)


def _field(json: Json) -> edge.FieldCondition:
    return edge.FieldCondition(
        json["key"],
        match=_match(json["match"]) if "match" in json else None,
        range=_range(json["range"]) if "range" in json else None,
        geo_bounding_box=_box(json["geo_bounding_box"]) if "geo_bounding_box" in json else None,
        geo_radius=_circle(json["geo_radius"]) if "geo_radius" in json else None,
        geo_polygon=_polygon(json["geo_polygon"]) if "geo_polygon" in json else None,
        values_count=edge.ValuesCount(**json["values_count"]) if "values_count" in json else None,
        is_empty=json.get("is_empty"),
        is_null=json.get("is_null"),
    )


def _match(json: Json) -> "edge.MatchType":
    ((name, value),) = json.items()
    return _MATCHES[name](_Truth(value) if isinstance(value, bool) else value)


class _Truth:
    """True or False as the index reads it: a bool of Python's own is a number to it, and would match 1 or 0.

    Its bindings also take numpy's bools, which are no numbers, and know them by the name of their class.
    """

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value


_Truth.__name__, _Truth.__module__ = "bool", "numpy"


def _range(json: Json) -> "edge.RangeType":
    return (edge.RangeDateTime if any(isinstance(bound, str) for bound in json.values()) else edge.RangeFloat)(
        **json
    )


def _point(json: Json) -> edge.GeoPoint:
    return edge.GeoPoint(json["lon"], json["lat"])


def _box(json: Json) -> edge.GeoBoundingBox:
    return edge.GeoBoundingBox(_point(json["top_left"]), _point(json["bottom_right"]))


def _circle(json: Json) -> edge.GeoRadius:
    return edge.GeoRadius(_point(json["center"]), json["radius"])


def _polygon(json: Json) -> edge.GeoPolygon:
    rings = [[_point(point) for point in ring["points"]] for ring in (json["exterior"], *json.get("interiors", []))]
    return edge.GeoPolygon(rings[0], rings[1:] or None)
