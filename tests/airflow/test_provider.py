"""The provider as Airflow sees it, and connections as users write them."""

from typing import Any

import pytest
from airflow.providers_manager import _create_provider_info_schema_validator
from airflow.sdk import Connection

from clipflow.errors import UsageError
from clipflow_airflow import get_provider_info
from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.hook import address_of as address_of_parts
from clipflow_airflow.jobs import Address


def address_of(connection: Connection) -> Address:
    return address_of_parts(connection, connection.extra_dejson)


def test_the_provider_info_is_valid() -> None:
    info = get_provider_info()
    _create_provider_info_schema_validator().validate(info)  # type: ignore[no-untyped-call]
    (kind,) = info["connection-types"]
    assert kind["connection-type"] == RayJobsHook.conn_type
    assert kind["hook-class-name"] == f"{RayJobsHook.__module__}.{RayJobsHook.__name__}"


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"host": "https://ray.example:8265/"}, "https://ray.example:8265"),
        ({"host": "http://ray.example"}, "http://ray.example"),
        ({"host": "ray.example"}, "http://ray.example:8265"),
        ({"host": "ray.example", "port": 443, "schema": "https"}, "https://ray.example:443"),
        ({"host": "https://ray.example:8265", "port": 8265}, "https://ray.example:8265"),
        ({"host": "ray.example", "conn_type": "https", "port": 8265}, "https://ray.example:8265"),
    ],
)
def test_where_a_connection_leads(parts: dict[str, Any], url: str) -> None:
    address = address_of(Connection(conn_id="r", **{"conn_type": "ray", **parts}))
    assert address == Address(url=url)
    assert address.verify


def test_what_a_connection_carries() -> None:
    extra = '{"verify": false, "poll_seconds": 1, "headers": "{\\"X-Team\\": \\"vision\\"}", "ca_file": "/ca.pem"}'
    address = address_of(Connection(conn_id="r", conn_type="ray", host="h", password="hidden", extra=extra))
    assert address == Address("http://h:8265", "hidden", {"X-Team": "vision"}, False, "/ca.pem", 1.0)
    assert "hidden" not in repr(address)


@pytest.mark.parametrize(("query", "verify"), [("", True), ("?verify=true", True), ("?verify=False", False)])
def test_tls_is_verified_unless_told_otherwise(query: str, verify: bool) -> None:
    address = address_of(Connection.from_uri(f"https://:hidden@ray.example:8265/{query}", conn_id="r"))
    assert address == Address("https://ray.example:8265", "hidden", verify=verify)


@pytest.mark.parametrize("parts", [{}, {"host": "h", "extra": '{"headers": "no json"}'}])
def test_a_connection_that_cannot_be(parts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="connection r"):
        address_of(Connection(conn_id="r", conn_type="ray", **parts))
