"""A bar for every contestant: what one more image costs, and between which rounds it lay."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Run, limit, marginal

_OURS, _THEIRS, _LIMIT = "#1b7f5a", "#8a94a6", "#c0392b"


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write an SVG, a panel for every size of the photographs that were read without delay."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same measurements give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "clipflow"})
    from matplotlib import pyplot

    sizes = sorted({run.size for run in runs if not run.delay}, key=len)
    figure, panels = pyplot.subplots(1, len(sizes), figsize=(6 * len(sizes), 4), squeeze=False, layout="constrained")
    for size, panel in zip(sizes, panels[0], strict=True):
        _panel(panel, [run for run in runs if run.size == size and not run.delay], size)
    figure.savefig(path, metadata={"Date": None})


def _panel(panel: Any, runs: Sequence[Run], size: str) -> None:
    about = {run.letter: run for run in sorted(runs, key=lambda run: run.letter)}
    costs = {letter: [1000 * one for one in marginal(runs, letter).values()] for letter in about}
    shown = [letter for letter in about if costs[letter]]
    middles = [median(costs[letter]) for letter in shown]
    least = [middle - min(costs[letter]) for middle, letter in zip(middles, shown, strict=True)]
    most = [max(costs[letter]) - middle for middle, letter in zip(middles, shown, strict=True)]
    colours = [_OURS if about[letter].ours else _THEIRS for letter in shown]
    names = [f"({letter}) {about[letter].name}" for letter in shown]
    bars = panel.barh(names, middles, xerr=(least, most), color=colours, ecolor="#333333")
    panel.bar_label(bars, fmt="%.0f", padding=4)
    panel.axvline(1000 * median(limit(runs).values()), color=_LIMIT, linestyle="--", label="bf16 matmul, the limit")
    panel.invert_yaxis()
    panel.set_title(f"{size}: CPU ms an image, less is better")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
