"""Servers that are not what the connection says: one sentence, and no retry."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clipflow_airflow.jobs import Address, RayJobs, WrongConnection


class LoginPage(BaseHTTPRequestHandler):
    """A proxy that sends everybody to its login, as HTTP clients without a session meet it."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), LoginPage)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(pem))
    return path


def answer(address: Address) -> str:
    async def go() -> None:
        async with RayJobs(address) as jobs:
            await jobs.info("any")

    with pytest.raises(WrongConnection) as caught:
        asyncio.run(go())
    assert not caught.value.retryable
    return str(caught.value)


def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as url:
        assert "TLS certificate" in answer(Address(url))
        # Trusted by its file, or not asked for: the request arrives, and meets the login page.
        assert "redirects" in answer(Address(url, ca_file=str(certificate)))
        assert "redirects" in answer(Address(url, verify=False))


def test_a_login_page_is_no_ray() -> None:
    with serving() as url:
        assert answer(Address(url)).startswith(f"{url} redirects")


def test_a_ca_file_that_is_not_there() -> None:
    assert "/no/ca.pem cannot be used" in answer(Address("https://127.0.0.1:9", ca_file="/no/ca.pem"))
