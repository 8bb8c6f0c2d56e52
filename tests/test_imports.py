"""What importing clipflow costs, what it may import, and what it exports."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import clipflow

PACKAGE = Path(clipflow.__file__).parent
ENGINE = {"torch", "transformers", "ray", "lance", "lancedb"}
AIRFLOW = {"airflow", "clipflow_airflow"}


def modules_after(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after some code."""
    whole = f"import sys\n{code}\nprint('modules', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", whole, *arguments], check=True, capture_output=True, text=True, timeout=500
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_clipflow_costs_nothing() -> None:
    found = modules_after("import clipflow")
    assert "clipflow" in found
    assert not found & (ENGINE | {"pyarrow", "numpy", "pydantic", "yaml", "duckdb", "PIL"})


def test_what_the_airflow_side_imports_needs_no_engine() -> None:
    # All in one interpreter: what one of them brought would be there after the last.
    modules = ("errors", "spec", "jobfile", "report", "interval", "cli")
    found = modules_after("; ".join(f"import clipflow.{module}" for module in modules))
    assert "pydantic" in found
    assert not found & ENGINE


def test_a_run_imports_torch_only_for_an_encoder_that_wants_it(tmp_path: Path) -> None:
    code = """
from pathlib import Path
import clipflow
from tests.catalogues import draw, job
folder = Path(sys.argv[1])
draw(folder / "images", range(3))
assert clipflow.run(job(folder / "images", folder / "t.lance"), ray="none").document()["embedded"] == 3
"""
    found = modules_after(code, str(tmp_path))
    assert "lance" in found
    assert not found & {"torch", "transformers", "ray"}


def test_plan_loads_no_model_and_no_ray(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    job = {
        "name": "n",
        "source": {"uri": str(tmp_path / "images")},
        "encoder": {"model": "demo"},
        "table": {"uri": str(tmp_path / "t.lance")},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    code = """
import contextlib, runpy
sys.argv = ["clipflow", *sys.argv[1:]]
with contextlib.suppress(SystemExit):
    runpy.run_module("clipflow", run_name="__main__")
"""
    found = modules_after(code, "plan", str(tmp_path / "job.yaml"))
    assert "lance" in found, "the plan was made"
    assert not found & {"torch", "transformers", "ray"}


def test_the_engine_never_imports_airflow() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 100
    found = [f"{path}:{line} {name}" for path in paths for line, name in imports(path) if name in AIRFLOW]
    assert found == []


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file: its line and the top-level package."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from ((node.lineno, name.partition(".")[0]) for name in names)


def test_all_names_exist_are_sorted_and_are_what_dir_shows() -> None:
    assert clipflow.__all__ == sorted(clipflow.__all__)
    assert dir(clipflow) == clipflow.__all__
    for name in clipflow.__all__:
        assert getattr(clipflow, name) is not None


def test_type_checkers_see_the_names_that_python_gives() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(seen) == clipflow.__all__
    for name, module in seen.items():
        given = getattr(clipflow, name)
        assert getattr(sys.modules[str(module)], name) is given


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="module 'clipflow' has no attribute 'embed'"):
        _ = clipflow.embed


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
