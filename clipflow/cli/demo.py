"""`clipflow demo`: the main job on a drawn catalogue."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    demo = add_verb(
        verbs,
        "demo",
        "the main job on a small drawn catalogue",
        _demo,
        "Draw a small catalogue, embed it with the encoder that ships with clipflow, and search it.",
    )
    demo.add_argument(
        "--folder", default="clipflow-demo", metavar="PATH", help="where it is made (default ./clipflow-demo)"
    )
    demo.add_argument("--ray", metavar="none|local|ADDRESS", help="as for run")


def _demo(call: argparse.Namespace) -> Answer:
    from clipflow.demo.show import show

    return show(call.folder, ray=call.ray)
