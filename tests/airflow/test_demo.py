"""The demo keeps its hands off what it did not make; what it shows it checks itself, when it runs."""

import subprocess
import sys
from pathlib import Path


def test_it_refuses_a_folder_of_somebody_else(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("three years of work")
    command = [sys.executable, "-m", "clipflow_airflow.demo", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [thesis]
