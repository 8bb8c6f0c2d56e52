"""Which database serves: PostgreSQL where it can, SQLite with a word about what is then not possible."""

from collections.abc import Callable
from pathlib import Path

from clipflow.errors import UsageError
from clipflow_airflow.stack import postgres
from clipflow_airflow.stack.home import Home

_LOCKED = "SQLite serves, which one writer at a time may use: a backfill ends in “database is locked”"
CHOICES = ("auto", "postgresql", "sqlite")


def choose(wanted: str, home: Home, say: Callable[[str], None]) -> str:
    """The database to use: `postgresql` or `sqlite`.

    Args:
        wanted: One of CHOICES; `auto` is what the home has, else PostgreSQL where it is installed.
        home: The stack's folder.
        say: Takes the reason where it is SQLite.

    Raises:
        UsageError: PostgreSQL is wanted and cannot be used.
    """
    missing = postgres.missing()
    if wanted == "postgresql" and missing:
        raise UsageError(f"{missing}.", "Install it, or give --database sqlite.")
    if wanted == "postgresql":
        return wanted
    if wanted == "sqlite":
        say(_LOCKED)
        return wanted
    if sqlite(home).exists() and not (home.path / "postgresql").exists():
        say(f"This home has its history in SQLite; --database postgresql begins a new one. {_LOCKED}")
        return "sqlite"
    if missing:
        say(f"{missing}. {_LOCKED}")
        return "sqlite"
    return "postgresql"


def sqlite(home: Home) -> Path:
    """The file of SQLite."""
    return home.path / "airflow.db"
