"""PostgreSQL of the stack: on a unix socket in a folder of its own, so no port is open at all."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from clipflow.errors import UsageError
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.service import Service

_ACCOUNT = "postgres"
_NAME = "airflow"


def missing() -> str:
    """Why PostgreSQL cannot be used here; empty when it can."""
    if not programs():
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    drivers = [name for name in ("psycopg2", "asyncpg") if find_spec(name) is None]
    if drivers:
        return f'{" and ".join(drivers)} cannot be imported (pip install "clipflow[stack]")'
    if os.geteuid() == 0 and _account() is None:
        return f"PostgreSQL refuses to run as root, and there is no account {_ACCOUNT}"
    return ""


def programs() -> list[Path]:
    """The folders of PostgreSQL's programs, the newest first."""
    # Debian keeps the server's programs off PATH; other systems have them beside pg_config or postgres.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    if shutil.which("pg_config"):
        named = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False, timeout=10)
        found.append(Path(named.stdout.strip()))
    if server := shutil.which("postgres"):
        found.append(Path(server).resolve().parent)
    return [path for path in dict.fromkeys(found) if (path / "initdb").exists() and (path / "postgres").exists()]


class PostgreSQL(Service):
    """The metadata database.

    Args:
        home: The stack's folder; the database's files stay there.
    """

    def __init__(self, home: Home) -> None:
        self._owner = _account() if os.geteuid() == 0 else None
        self._data = self._place(home)
        self._password = home.secret("database-password")
        self._programs = self._matching(programs())
        self._socket = home.short_folder()
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            # A crash of the machine may cost the last moments, never the database.
            "synchronous_commit": "off",
        }
        super().__init__(
            home,
            "postgresql",
            [str(self._programs / "postgres"), "-D", str(self._data), *(f"-c{k}={v}" for k, v in settings.items())],
            {"PATH": os.defpath, "LC_ALL": "C"},
            answers=self._ready,
            account=None if self._owner is None else _ACCOUNT,
            seconds=60,
        )

    def url(self, driver: str) -> str:
        """The address for SQLAlchemy; it holds the password."""
        return f"postgresql+{driver}://{_NAME}:{self._password}@/{_NAME}?host={self._socket}"

    @property
    def elsewhere(self) -> Path | None:
        """Where its files lie, if not in the home."""
        return None if self._data.is_relative_to(self.home.path.resolve()) else self._data

    def prepare(self) -> None:
        """Lay out the database where there is none."""
        self._give(self._socket)
        if not (self._data / "PG_VERSION").exists():
            self._lay_out()
        # Nobody serves these files: the caller holds the home. A left pid may be somebody else's by now.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    @property
    def farewell(self) -> int:
        """Fast shutdown: sessions are cut, the files are left in order."""
        return signal.SIGINT

    def _ready(self, _since: datetime) -> bool:
        import psycopg2  # type: ignore[import-untyped]

        def connect(database: str) -> bool:
            access = {"host": str(self._socket), "user": _NAME, "password": self._password, "dbname": database}
            with contextlib.closing(psycopg2.connect(**access, connect_timeout=5)) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    if database != _NAME:
                        cursor.execute(f"create database {_NAME}")
            return True

        try:
            return connect(_NAME)
        except psycopg2.OperationalError as error:
            if f'database "{_NAME}" does not exist' not in str(error):
                return False
        return connect("postgres")

    def _lay_out(self) -> None:
        """Run initdb; a half-made folder of an earlier try is made again."""
        for left in self._data.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self._give(self._data)
        with tempfile.TemporaryDirectory(prefix="cfpg", dir="/tmp") as folder:
            secret = Path(folder, "password")
            secret.write_text(self._password)
            self._give(Path(folder), secret)
            words = ["-D", str(self._data), "-U", _NAME, f"--pwfile={secret}", "--auth=scram-sha-256"]
            words += ["--encoding=UTF8", "--locale=C", "--no-sync"]
            as_other = {} if self._owner is None else {"user": _ACCOUNT, "group": _ACCOUNT, "extra_groups": []}
            done = subprocess.run(  # type: ignore[call-overload]
                [str(self._programs / "initdb"), *words],
                env=self.environment,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=120,
                **as_other,
            )
        if done.returncode:
            shutil.rmtree(self._data / "base", ignore_errors=True)
            (self._data / "PG_VERSION").unlink(missing_ok=True)
            raise UsageError(f"initdb failed: {done.stderr.strip()[-300:]}", "Mend it, or give --database sqlite.")

    def _matching(self, found: list[Path]) -> Path:
        """The programs that made the files, or the newest."""
        version = self._data / "PG_VERSION"
        if not version.exists():
            return found[0]
        made_by = version.read_text().strip()
        for path in found:
            said = subprocess.run(
                [str(path / "postgres"), "-V"], capture_output=True, text=True, check=True, timeout=10
            )
            if said.stdout.split()[2].split(".")[0] == made_by:
                return path
        raise UsageError(
            f"The database in {self._data} was made by PostgreSQL {made_by}, which is not installed any more.",
            "Install it again, or name a new --home.",
        )

    def _place(self, home: Home) -> Path:
        """The folder of its files: in the home, or linked from there where its own account may not enter the home."""
        place = home.path / "postgresql"
        if place.exists():
            return place.resolve()
        place.unlink(missing_ok=True)
        if self._owner is None or self._enters(home.path):
            place.mkdir()
        else:
            room = self._owner.pw_dir if Path(self._owner.pw_dir).is_dir() else "/var/tmp"
            place.symlink_to(tempfile.mkdtemp(prefix="clipflow-", dir=room))
        return place.resolve()

    @staticmethod
    def _enters(folder: Path) -> bool:
        """Whether the account can walk down to the folder; a clone under /root is out of its reach."""
        walk = ["test", "-x", str(folder)]
        tried = subprocess.run(walk, user=_ACCOUNT, group=_ACCOUNT, extra_groups=[], check=False, timeout=10)
        return tried.returncode == 0

    def _give(self, *paths: Path) -> None:
        for path in paths:
            path.chmod(0o700 if path.is_dir() else 0o600)
            if self._owner is not None:
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return None
