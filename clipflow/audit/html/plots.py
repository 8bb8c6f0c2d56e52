"""The drawings of the page. Colours and sizes of text stand in page.css."""

from collections.abc import Sequence
from typing import Any

from clipflow.audit.html.axis import scale, short, ticks
from clipflow.audit.html.tags import Html, join, tag
from clipflow.audit.report import interval, label, percent

WIDTH = 720
_NAMES, _FIGURES, _ROW = 190, 150, 26
_LONGEST = 28
_HIGH, _ROOM = 150, 46


def verdict_bar(statuses: dict[str, int]) -> Html:
    """All rows by status, as one bar."""
    total = sum(statuses.values())
    place = scale(0, total or 1, 0, WIDTH)
    parts: list[Html] = []
    before = 0
    for status, n in statuses.items():
        left, right = place(before), place(before + n)
        before += n
        if n:
            parts.append(_rect(left, 0, right - left, 34, status, f"{status}: {n}"))
            if right - left > 90:
                parts.append(_text((left + right) / 2, 22, f"{status} {percent(n / total)}", "on middle"))
    said = ", ".join(f"{n} {status}" for status, n in statuses.items())
    return _drawing("Rows by verdict", f"{total} rows: {said}.", 34, parts)


def rates(title: str, entries: Sequence[dict[str, Any]], overall: float) -> Html:
    """The rate of each group with its 95 % interval, and the overall rate as a line.

    Args:
        entries: {value, n, removed, rate, low, high, flagged} of the groups of one column.
    """
    bottom = len(entries) * _ROW + 8
    most = max([entry["high"] for entry in entries] + [overall, 0.01])
    place = scale(0, most, _NAMES, WIDTH - _FIGURES)
    parts = [_grid(place(at), bottom, percent(at, 0 if most > 0.05 else 1)) for at in ticks(0, most)]
    parts.append(_line(place(overall), 0, place(overall), bottom, "overall"))
    for at, entry in enumerate(entries):
        parts.append(_whisker(entry, at * _ROW + 18, place))
    said = "; ".join(f"{label(entry['value'])}: {interval(entry)}" for entry in entries)
    return _drawing(title, f"Overall {percent(overall)}. {said}.", bottom + 24, parts)


def histogram(rule: dict[str, Any]) -> Html | None:
    """The scores of a rule, its bounds drawn over them; None where there are no scores."""
    found = rule["histogram"]
    if found is None:
        return None
    bounds = rule["bounds"]
    low, high = min([found["low"], *bounds.values()]), max([found["high"], *bounds.values()])
    place = scale(low, high, 24, WIDTH - 24)
    top = _ROOM if bounds else 8
    bottom = top + _HIGH
    parts = [_zone(key, bound, place, low, high, (top, bottom)) for key, bound in bounds.items()]
    parts += [_grid(place(at), bottom, short(at), top) for at in ticks(low, high, 6)]
    parts += _bars(found, place, bottom)
    ordered = [(key, bound, 14 + 16 * (at % 3)) for at, (key, bound) in enumerate(sorted(bounds.items(), key=_second))]
    parts += [_limit(key, place(bound), y + 4, bottom) for key, bound, y in ordered]
    parts += [_bound(key, bound, place(bound), y) for key, bound, y in ordered]
    said = ", ".join(f"{key.replace('_', ' ')} {bound:g}" for key, bound in bounds.items()) or "none"
    about = f"{sum(found['counts'])} scores from {short(found['low'])} to {short(found['high'])}; bounds: {said}."
    return _drawing(f"Scores of {rule['rule']}", about, bottom + 24, parts)


def _whisker(entry: dict[str, Any], y: float, place: Any) -> Html:
    kind = "flagged" if entry["flagged"] else "plain"
    name = label(entry["value"])
    shown = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    x, left, right = place(entry["rate"]), place(entry["low"]), place(entry["high"])
    mark = (
        tag("path", d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7-7z", class_="mark flagged")
        if entry["flagged"]
        else tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=5, class_="mark")
    )
    figures = f"{percent(entry['rate'])} of {entry['n']}"
    return tag(
        "g",
        tag("title", f"{name}: {interval(entry)}, {entry['removed']} of {entry['n']}"),
        _text(_NAMES - 12, y + 4, shown, f"name end {kind}"),
        _line(left, y, right, y, f"whisker {kind}"),
        mark,
        _text(WIDTH - _FIGURES + 14, y + 4, figures, f"figures {kind}"),
    )


def _bars(found: dict[str, Any], place: Any, bottom: float) -> list[Html]:
    counts, low, high = found["counts"], found["low"], found["high"]
    most = max(counts)
    if high <= low:
        return [_rect(place(low) - 6, bottom - _HIGH, 12, _HIGH, "bar", f"{short(low)}: {sum(counts)}")]
    width = (high - low) / len(counts)
    bars = []
    for at, n in enumerate(counts):
        if n:
            left, right = place(low + at * width), place(low + (at + 1) * width)
            tall = max(1.0, n / most * (_HIGH - 8))
            said = f"{short(low + at * width)} to {short(low + (at + 1) * width)}: {n}"
            bars.append(_rect(left + 0.75, bottom - tall, right - left - 1.5, tall, "bar", said))
    return bars


def _zone(key: str, bound: float, place: Any, low: float, high: float, span: tuple[float, float]) -> Html:
    left, right = (place(low) - 12, place(bound)) if key.endswith("below") else (place(bound), place(high) + 12)
    return _rect(left, span[0], right - left, span[1] - span[0], f"zone {key.partition('_')[0]}", "")


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _limit(key: str, x: float, top: float, bottom: float) -> Html:
    return _line(x, top, x, bottom, f"limit {key.partition('_')[0]}")


def _bound(key: str, bound: float, x: float, y: float) -> Html:
    kind, _, side = key.partition("_")
    anchor = _anchor(x, side)
    return _text(x + (-6 if anchor == "end" else 6), y, f"{kind} {side} {bound:g}", f"bound {kind} {anchor}")


def _anchor(x: float, side: str) -> str:
    # A label points away from what is kept, unless it would leave the drawing.
    if side == "below":
        return "end" if x > 150 else "start"
    return "start" if x < WIDTH - 150 else "end"


def _drawing(title: str, about: str, height: float, parts: Sequence[Html]) -> Html:
    return tag(
        "svg",
        tag("title", title),
        tag("desc", about),
        *parts,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_label=f"{title}. {about}",
    )


def _grid(x: float, bottom: float, said: str, top: float = 0) -> Html:
    return join((_line(x, top, x, bottom, "grid"), _text(x, bottom + 16, said, "tick middle")))


def _rect(x: float, y: float, width: float, height: float, kind: str, said: str) -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{max(width, 0):.1f}", "height": f"{height:.1f}"}
    return tag("rect", tag("title", said) if said else None, class_=kind, **place)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _text(x: float, y: float, said: str, kind: str) -> Html:
    return tag("text", said, x=f"{x:.1f}", y=f"{y:.1f}", class_=kind)
