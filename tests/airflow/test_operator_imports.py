"""What importing the Airflow side costs: no engine, and nothing heavy."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "ray", "lance", "lancedb", "pyarrow", "duckdb", "numpy")


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print('modules', *sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_operator_imports_no_engine() -> None:
    found = imported_by("from clipflow_airflow import EmbedImagesOperator, RayJobsHook")
    # numpy comes with Airflow itself when it is there, so only what Airflow does not bring counts.
    bare = imported_by("from airflow.sdk import BaseHook, BaseOperator, Connection")
    assert not (found - bare) & set(HEAVY)


def test_the_package_alone_imports_nothing() -> None:
    found = imported_by("import clipflow_airflow; clipflow_airflow.get_provider_info()")
    assert not found & {"airflow", "aiohttp", "pydantic", *HEAVY}
