"""DuckDB behind closed doors."""

import duckdb


def closed_database(threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that reaches neither files, network nor variables of this process; times in UTC.

    What a statement may read is registered by the caller; no statement can open it again.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
    }
    if threads is not None:
        config["threads"] = str(threads)
    database = duckdb.connect(config=config)
    # Global, or a cursor would have the machine's own.
    database.execute("SET GLOBAL TimeZone='UTC'")
    database.execute("SET lock_configuration=true")
    return database
