"""Small disks of their own, for tests that fill them or make them read-only."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk(size: str, folder: Path) -> Iterator[Path]:
    """A file system of so many bytes, mounted on a folder for a while."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change how it is mounted, as `ro` or `size=1m`."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def can_mount() -> bool:
    """Whether this user may mount: root may, on a machine, and in few containers."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with disk("4k", Path(folder)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
