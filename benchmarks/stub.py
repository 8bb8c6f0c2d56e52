"""The stub encoder of the tests, for figures in which no encoder should stand."""

import os
import sys

from benchmarks.usage import ROOT

ENCODER = {"model": "stub:dim=512", "loader": "stub"}


def install() -> None:
    """Make its entry point known, to this process and its children."""
    folder = str(ROOT / "tests" / "plugins" / "stub_encoder")
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
