"""HTML that cannot be broken by what it shows: all that is not made here is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element.

    Args:
        content: Text, which is escaped, or `Html`; None is left out.
        attributes: `_` stands for `-`, and one at the end falls; None is left out.
    """
    parts = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = "".join(f' {key}="{escape(str(value))}"' for key, value in parts)
    return Html(f"<{name}{opening}>{join(content)}</{name}>")


def join(content: Iterable[object]) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in content if part is not None))


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "", words: int = 1) -> Html:
    """A table whose first `words` columns are text; the others are figures, set to the right."""
    kinds = ["word" if at < words else "figure" for at in range(len(headers))]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(headers, kinds, strict=True)))
    body = [tag("tr", *_cells(row, kinds)) for row in rows]
    title = tag("caption", caption) if caption else None
    return tag("div", tag("table", title, tag("thead", head), tag("tbody", *body)), class_="wide")


def facts(pairs: Iterable[tuple[object, Any]]) -> Html:
    """A list of names and what stands for them; a pair without anything is left out."""
    said = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in said))


def section(title: str, *content: object, id: str | None = None) -> Html:
    """A part of the page under a heading."""
    return tag("section", tag("h2", title), *content, id=id)


def _cells(row: Sequence[object], kinds: Sequence[str]) -> Iterable[Html]:
    first, *others = zip(row, kinds, strict=True)
    yield tag("th", first[0], scope="row", class_=first[1])
    yield from (tag("td", value, class_=kind) for value, kind in others)
