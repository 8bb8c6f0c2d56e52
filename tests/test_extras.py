"""What the core and the extras name is what the code imports; tests/images installs them."""

import ast
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clipflow
from clipflow.extras import ENGINE

PACKAGE = Path(clipflow.__file__).parent


def declared(extra: str) -> set[str]:
    """The distributions that an extra names; an empty one, the core."""
    found = [Requirement(line) for line in requires("clipflow") or []]
    if not extra:
        return {one.name for one in found if one.marker is None}
    return {one.name for one in found if one.marker and f'extra == "{extra}"' in str(one.marker).replace("'", '"')}


def imported() -> set[str]:
    """Every foreign module that the engine imports anywhere."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"clipflow", "__future__"}


def test_what_the_engine_imports_is_of_the_core_or_of_the_extra() -> None:
    homes = packages_distributions()
    core = {name for name in imported() if declared("") & {canonicalize_name(home) for home in homes.get(name, ())}}
    assert core >= {"pydantic", "yaml", "fsspec", "s3fs"}
    # botocore comes with s3fs, scikit-image is only for training the demo's encoder again, the others are extras.
    assert imported() - core - {"botocore", "skimage", "open_clip", "openvino", "pillow_heif"} <= ENGINE


def test_the_extra_brings_what_it_says() -> None:
    homes = packages_distributions()
    for module in ENGINE - {"tokenizers"}:  # of transformers
        assert {canonicalize_name(home) for home in homes[module]} & declared("engine"), module
