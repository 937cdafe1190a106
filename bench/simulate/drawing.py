"""Charts as SVG: lines over two axes, linear or logarithmic, with a legend; nothing but text is written."""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10

from msgspec import Struct

__all__ = ["Axis", "Chart", "Curve", "drawn"]

_WIDTH, _HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 150, 44, 52
_INK, _FAINT = "#1f2933", "#d9dee3"
_COLOURS = ("#0b6e6e", "#d9822b", "#7157a8", "#8a97a3", "#c23030")
"""Told apart also by those who do not see red and green as two."""
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2")


class Axis(Struct, frozen=True, kw_only=True):
    """One direction of a chart."""

    title: str
    low: float
    high: float
    log: bool = False


class Curve(Struct, frozen=True, kw_only=True):
    """Points joined by lines; without lines they are dots."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    line: bool = True


class Chart(Struct, frozen=True, kw_only=True):
    """What is to be seen."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]
    marks: Sequence[tuple[float, str]] = ()
    """Instants on the x axis with what happened there."""


def drawn(chart: Chart) -> str:
    """The chart as one SVG document."""
    across = _scale(chart.x, _LEFT, _WIDTH - _RIGHT)
    up = _scale(chart.y, _HEIGHT - _BOTTOM, _TOP)
    font = f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {font}>',
        f"<title>{escape(chart.title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, chart.title, size=15, weight=600),
        *_grid(chart, across, up),
        *_marks(chart, across),
    ]
    for number, curve in enumerate(chart.curves):
        parts += _curve(curve, number, across, up)
        parts += _legend(curve, number)
    return "\n".join([*parts, "</svg>", ""])


def _scale(axis: Axis, start: float, end: float) -> Callable[[float], float]:
    """From a value to a place on the page; what lies outside the axis is put on its end."""

    def place(value: float) -> float:
        within = min(max(value, axis.low), axis.high)
        if axis.log:
            share = log10(within / axis.low) / log10(axis.high / axis.low)
        else:
            share = (within - axis.low) / (axis.high - axis.low)
        return round(start + share * (end - start), 1)

    return place


def _ticks(axis: Axis) -> list[float]:
    """Round values along an axis: powers of ten, or steps of 1, 2 or 5."""
    if axis.log:
        return [10.0**n for n in range(ceil(log10(axis.low) - 1e-9), floor(log10(axis.high) + 1e-9) + 1)]
    rough = (axis.high - axis.low) / 6
    unit = 10.0 ** floor(log10(rough))
    step = unit * next(times for times in (1, 2, 5, 10) if times * unit >= rough)
    first = ceil(axis.low / step - 1e-9)
    return [n * step for n in range(first, floor(axis.high / step + 1e-9) + 1)]


def _grid(chart: Chart, across: Callable[[float], float], up: Callable[[float], float]) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts: list[str] = []
    for tick in _ticks(chart.y):
        parts.append(_line(_LEFT, up(tick), right, up(tick)))
        parts.append(_text(_LEFT - 8, up(tick) + 4, f"{tick:,g}", anchor="end"))
    for tick in _ticks(chart.x):
        parts.append(_line(across(tick), _TOP, across(tick), bottom))
        parts.append(_text(across(tick), bottom + 18, f"{tick:,g}", anchor="middle"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 12, chart.x.title, anchor="middle"))
    middle = (_TOP + bottom) / 2
    turned = f' transform="rotate(-90 18 {middle:g})"'
    parts.append(_text(18, middle, chart.y.title, anchor="middle", more=turned))
    return parts


def _marks(chart: Chart, across: Callable[[float], float]) -> list[str]:
    parts: list[str] = []
    for number, (at, what) in enumerate(chart.marks):
        place = across(at)
        parts.append(_line(place, _TOP, place, _HEIGHT - _BOTTOM, colour=_COLOURS[-1], dash="3 3"))
        beside, anchor = (place + 4, "start") if place < _WIDTH / 2 else (place - 4, "end")
        parts.append(_text(beside, _TOP + 12 + 16 * number, what, anchor=anchor, fill=_COLOURS[-1]))
    return parts


def _curve(curve: Curve, number: int, across: Callable[[float], float], up: Callable[[float], float]) -> list[str]:
    colour, dash = _style(number)
    places = [(across(x), up(y)) for x, y in curve.points]
    parts: list[str] = []
    if curve.line:
        path = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    if curve.dots:
        parts += [f'<circle cx="{x:g}" cy="{y:g}" r="3.5" fill="{colour}"/>' for x, y in places]
    return parts


def _legend(curve: Curve, number: int) -> list[str]:
    colour, dash = _style(number)
    left, y = _WIDTH - _RIGHT + 14, _TOP + 14 + number * 20
    sample = f'<line x1="{left}" y1="{y}" x2="{left + 24}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'
    if not curve.line:
        sample = f'<circle cx="{left + 12}" cy="{y}" r="3.5" fill="{colour}"/>'
    return [sample, _text(left + 30, y + 4, curve.name)]


def _style(number: int) -> tuple[str, str]:
    dash = _DASHES[number % len(_DASHES)]
    return _COLOURS[number % len(_COLOURS)], f' stroke-dasharray="{dash}"' if dash else ""


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str = _FAINT, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"{dashed}/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: int = 400,
    fill: str = _INK,
    more: str = "",
) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{fill}"'
    return f'<text x="{x:g}" y="{y:g}" {style}{more}>{escape(text)}</text>'
