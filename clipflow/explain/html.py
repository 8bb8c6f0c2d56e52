"""Sections as one HTML file: no scripts, nothing loaded, readable on paper, by day and by night."""

from collections.abc import Iterable, Sequence
from html import escape

from clipflow.explain.page import Section

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.75rem 0 .4rem; border-bottom: 1px solid color-mix(in srgb, CanvasText 25%, Canvas); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .15rem .9rem .15rem 0; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
.pairs th { width: 11rem; font-weight: 400; color: color-mix(in srgb, CanvasText 65%, Canvas); }
.rows td { font-variant-numeric: tabular-nums; }
.rows tr + tr td:first-child:not(:empty), .rows tr + tr td:first-child:not(:empty) ~ td {
  border-top: 1px solid color-mix(in srgb, CanvasText 12%, Canvas); }
p { margin: .4rem 0; color: color-mix(in srgb, CanvasText 65%, Canvas); }
@media print { body { margin: 0; max-width: none; font-size: 11px; } section { break-inside: avoid; } }
"""


def page(title: str, sections: Iterable[Section]) -> str:
    """One whole document; every word of the table's is escaped."""
    body = "\n".join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.pairs:
        pairs = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in section.pairs)
        parts.append(f'<table class="pairs">\n{pairs}\n</table>')
    if section.rows:
        rows = "\n".join(f"<tr>{_cells('td', row)}</tr>" for row in section.rows)
        head = f"<thead><tr>{_cells('th', section.header)}</tr></thead>"
        parts.append(f'<table class="rows">\n{head}\n<tbody>\n{rows}\n</tbody>\n</table>')
    parts += [f"<p>{escape(remark)}</p>" for remark in section.remarks]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
