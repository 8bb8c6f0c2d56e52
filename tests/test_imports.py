"""What importing clipflow costs, what it may import, and what it exports."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import clipflow

PACKAGE = Path(clipflow.__file__).parent
ENGINE = {"torch", "transformers", "ray", "lance", "lancedb"}


def modules_after(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after some code."""
    whole = f"import sys\n{code}\nprint('modules', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", whole, *arguments], check=True, capture_output=True, text=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_import_clipflow_costs_nothing() -> None:
    found = modules_after("import clipflow")
    assert "clipflow" in found
    assert not found & (ENGINE | {"pyarrow", "numpy", "pydantic", "yaml", "duckdb", "PIL"})


@pytest.mark.parametrize("module", ["errors", "spec", "jobfile", "report", "interval", "cli"])
def test_what_the_airflow_side_imports_needs_no_engine(module: str) -> None:
    found = modules_after(f"import clipflow.{module}")
    assert not found & ENGINE


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


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_engine_never_imports_airflow(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] not in ("airflow", "clipflow_airflow"), ast.unparse(node)


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
