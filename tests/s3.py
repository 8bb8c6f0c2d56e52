"""A real S3 server for tests: SeaweedFS on loopback, with an admin and a read-only identity."""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from clipflow_airflow.stack.ports import free_port
from tests import guardian

READY_SECONDS = 300
ADMIN = ("admin-key", "admin-secret-4711")
READER = ("reader-key", "reader-secret-0815")


class S3Server:
    """SeaweedFS in its own process group and folder; a context manager that leaves nothing behind.

    The admin identity may do everything, the reader may read the bucket `open` only.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.metrics = ""
        self._folder: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for attempt in range(3):
            try:
                self._start()
                return self
            except RuntimeError:
                self._end()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def env(self, identity: tuple[str, str] = ADMIN) -> dict[str, str]:
        """The AWS_* variables under which this server is the storage."""
        return {
            "AWS_ACCESS_KEY_ID": identity[0],
            "AWS_SECRET_ACCESS_KEY": identity[1],
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, patch: pytest.MonkeyPatch, identity: tuple[str, str] = ADMIN, **other: str) -> None:
        """Make this server the storage of the process, and forget every other AWS_* variable."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {**self.env(identity), **other}.items():
            patch.setenv(name, value)

    def make_bucket(self, name: str) -> None:
        """Create a bucket; an existing one stays."""
        client = self.client
        if name not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=name)

    def put(self, key: str, data: bytes, bucket: str = "open") -> str:
        """Store an object under a key, verbatim, and return its address."""
        self.client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    def delete(self, key: str, bucket: str = "open") -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=bucket, Key=key)

    @functools.cached_property
    def client(self) -> Any:
        """A botocore client of the admin."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=ADMIN[0],
            aws_secret_access_key=ADMIN[1],
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def _start(self) -> None:
        self._folder = guardian.folder("seaweed-")
        (self._folder / "data").mkdir()
        identities = {
            "identities": [
                _identity("admin", ADMIN, ["Admin", "Read", "Write", "List", "Tagging"]),
                _identity("reader", READER, ["Read:open", "List:open"]),
            ]
        }
        (self._folder / "s3.json").write_text(json.dumps(identities))
        master, volume, filer, s3 = (free_port(beside=10_000) for _ in range(4))
        metrics = free_port()
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        self.endpoint = f"http://127.0.0.1:{s3}"
        binary = Path(sys.executable).parent / "weed"
        command = [str(binary) if binary.exists() else shutil.which("weed") or "weed", "server"]
        command += [f"-dir={self._folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}"]
        command += [f"-metricsPort={metrics}"]
        command += ["-s3", f"-s3.port={s3}", f"-s3.config={self._folder / 's3.json'}", "-s3.iam=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=500", "-volume.preStopSeconds=0"]
        with open(self._folder / "log", "wb") as log:
            self._server = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=self._folder
            )
        self._wait()

    def _wait(self) -> None:
        assert self._server is not None
        assert self._folder is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._server.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS did not start: {(self._folder / 'log').read_text(errors='replace')[-2000:]}")

    def _end(self) -> None:
        if self._server is not None:
            # Nothing here outlives the test, so there is nothing to save by asking politely.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(timeout=300)
            self._server = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One server for the whole session, with the bucket `open`; its variables are set by who needs them."""
    with S3Server() as server:
        server.make_bucket("open")
        yield server
