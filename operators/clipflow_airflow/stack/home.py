"""The stack's folder: history, logs, secrets, and who runs in it."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from clipflow.errors import UsageError

_MARKER = ".clipflow-airflow"
_SHORT = "cfair-"


class Home:
    """A folder that is kept between ups.

    Args:
        path: A new or empty folder, or one that an earlier stack made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.airflow = self.path / "airflow"
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.secrets = self.path / "secrets"
        self._lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether a stack was here before."""
        return (self.path / _MARKER).exists()

    def make(self) -> None:
        """Make the folder and its rooms.

        Raises:
            UsageError: The folder holds things that no stack made.
        """
        if not self.exists:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise UsageError(f"{self.path} is not empty, and no stack made it.", "Name another folder by --home.")
            self.path.mkdir(parents=True, exist_ok=True)
            # PostgreSQL runs under an account of its own when we are root, and must reach its room.
            self.path.chmod(0o711)
            (self.path / _MARKER).write_text("Made by clipflow_airflow.stack. Safe to remove when it is down.\n")
        for room in (self.airflow, self.logs, self.run, self.secrets):
            room.mkdir(mode=0o700, exist_ok=True)

    @property
    def mark(self) -> str:
        """What every process of this home carries in its environment."""
        return self._keep(self.run / "mark", lambda: secrets.token_hex(8))

    def secret(self, name: str, make: Callable[[], str] = secrets.token_hex) -> str:
        """A secret of this home, made on first use, in a file that only its owner reads."""
        return self._keep(self.secrets / name, make)

    def short_folder(self) -> Path:
        """A new folder outside the home, for sockets: their paths hold 107 characters. It goes with `remove_short`."""
        folder = Path(tempfile.mkdtemp(prefix=_SHORT, dir="/tmp"))
        with (self.run / "folders").open("a", encoding="utf-8") as file:
            file.write(f"{folder}\n")
        return folder

    def remove_short(self) -> None:
        """Remove the folders outside the home, those of a stack that was killed included."""
        kept = self.run / "folders"
        for line in kept.read_text(encoding="utf-8").splitlines() if kept.exists() else ():
            folder = Path(line)
            if folder.parent == Path("/tmp") and folder.name.startswith(_SHORT):
                shutil.rmtree(folder, ignore_errors=True)
        kept.unlink(missing_ok=True)

    @property
    def taken(self) -> bool:
        """Whether it is us who run this home."""
        return self._lock is not None

    def take(self) -> bool:
        """Become the one who runs this home; False when somebody else does. The lock dies with the process."""
        handle = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def release(self) -> None:
        """Let others run this home."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def _keep(path: Path, make: Callable[[], str]) -> str:
        if path.exists() and (kept := path.read_text(encoding="utf-8").strip()):
            return kept
        new = make()
        draft = path.with_name(f"{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{new}\n")
        draft.rename(path)
        return new
