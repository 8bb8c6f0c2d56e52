"""The connection type `ray`: an Airflow connection becomes an address of the Jobs REST."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from clipflow.errors import ClipflowError, UsageError
from clipflow_airflow.jobs import Address, RayJobs

_PORT = 8265


class RayJobsHook(BaseHook):
    """Ray Jobs behind an Airflow connection.

    The host is a full URL, or a host beside a port and a scheme; the password is Ray's token.

    Args:
        conn_id: The connection.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "ray_default"
    conn_type = "ray"
    hook_name = "Ray Jobs"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def get_conn(self) -> RayJobs:
        """A client for the connection, not open yet."""
        with self._known():
            connection = self.get_connection(self.conn_id)
        return RayJobs(address_of(connection, connection.extra_dejson))

    async def aget_conn(self) -> RayJobs:
        """As `get_conn`, where a loop runs that others share."""
        with self._known():
            connection = await self.aget_connection(self.conn_id)
        return RayJobs(address_of(connection, await connection.aextra_dejson()))

    @contextmanager
    def _known(self) -> Iterator[None]:
        try:
            yield
        except AirflowNotFoundException:
            raise UsageError(
                f"There is no connection {self.conn_id}.", "Create it, of the type Ray Jobs, or name another."
            ) from None

    def test_connection(self) -> tuple[bool, str]:
        """Whether Ray answers, and lets us in; the button of the connection's form."""
        try:
            return True, f"Ray {asyncio.run(self._version())} answers."
        except ClipflowError as error:
            return False, str(error)

    async def _version(self) -> str:
        async with self.get_conn() as jobs:
            # The version is open to everybody; a job's page is not, so it shows whether the token is right.
            await jobs.info("clipflow-connection-test")
            return await jobs.version()


def address_of(connection: Connection, extra: Mapping[str, Any]) -> Address:
    """The address that a connection, with its further fields, describes."""
    if not connection.host:
        raise UsageError(
            f"The connection {connection.conn_id} names no host.", "Set it to Ray's dashboard, http://HOST:8265."
        )
    scheme, _, host = connection.host.rpartition("://")
    if not scheme:
        plain = connection.conn_type if connection.conn_type in ("http", "https") else "http"
        scheme = connection.schema or plain
        host = f"{connection.host}:{connection.port or _PORT}"
    elif connection.port and urlsplit(connection.host).port is None:
        host = f"{host}:{connection.port}"
    return Address(
        url=f"{scheme}://{host}".rstrip("/"),
        token=connection.password or None,
        headers=_headers(connection.conn_id, extra.get("headers")),
        # A connection written as a URI holds text only.
        verify=str(extra.get("verify", True)).lower() not in ("false", "0", "no"),
        ca_file=extra.get("ca_file") or None,
        poll_seconds=float(extra.get("poll_seconds") or Address.poll_seconds),
    )


def _headers(conn_id: str, value: object) -> dict[str, str]:
    """The form hands over a string, a connection written as JSON may hold the object itself."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            value = "?"
    if value and not isinstance(value, dict):
        raise UsageError(f"The headers of the connection {conn_id} are no JSON object.", 'Write {"X-Name": "value"}.')
    return {str(name): str(text) for name, text in (value or {}).items()} if isinstance(value, dict) else {}
