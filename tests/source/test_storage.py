"""The AWS_* variables, mapped once, and foreign errors put into our words."""

import errno
import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from clipflow.errors import SourceError, StorageUnavailable
from clipflow.faults import failure_kind, storage_error
from clipflow.spec import StorageSpec
from clipflow.storage import Storage
from clipflow_airflow.stack.ports import free_port
from tests.s3 import ADMIN, READER, S3Server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_lance_options_follow_the_environment(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Storage().lance_options("/tmp/t.lance") is None
    assert Storage().lance_options("s3://open/t.lance") == {
        "aws_access_key_id": ADMIN[0],
        "aws_secret_access_key": ADMIN[1],
        "aws_region": "us-east-1",
        "aws_endpoint": bucket.endpoint,
        "allow_http": "true",
    }
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    options = Storage.of(StorageSpec(region="eu-west-1")).lance_options("s3://open/t.lance") or {}
    assert options["aws_endpoint"] == "https://s3.example.org"
    assert options["allow_http"] == "false"
    assert options["aws_region"] == "eu-west-1"
    assert options["aws_session_token"] == "token"


def test_a_profile_outranks_the_environment(bucket: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"[profile other]\nregion = eu-north-1\naws_access_key_id = {READER[0]}\n"
        f"aws_secret_access_key = {READER[1]}\nservices = here\n"
        "[services here]\ns3 =\n  endpoint_url = http://127.0.0.1:9\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    storage = Storage.of(StorageSpec(profile="other"))
    options = storage.lance_options("s3://open/t") or {}
    assert (options["aws_access_key_id"], options["aws_region"]) == (READER[0], "eu-north-1")
    assert options["aws_endpoint"] == bucket.endpoint
    refused = raised(lambda: storage.filesystem("s3://open/").call_s3("put_object", Bucket="open", Key="no"))
    assert failure_kind(refused) == "forbidden"
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert (storage.lance_options("s3://open/t") or {})["aws_endpoint"] == "http://127.0.0.1:9"
    assert "'nobody'" in str(raised(lambda: Storage(profile="nobody").filesystem("s3://open/")))


def test_finding_credentials_is_no_news(bucket: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    """Each look-up has a line for it at INFO, the level of a task's log."""
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert Storage().lance_options("s3://open/t.lance")
        Storage(region="us-east-1").filesystem("s3://open/").call_s3("list_objects_v2", Bucket="open", MaxKeys=1)
    assert "credentials" not in caplog.text


def test_no_secret_shows(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.of(StorageSpec(endpoint=bucket.endpoint))
    filesystem = storage.filesystem("s3://open/")
    for text in (repr(storage), repr(filesystem), str(filesystem.storage_options), filesystem.to_json()):
        assert ADMIN[1] not in text
    assert ADMIN[1].encode() not in pickle.dumps(storage)
    assert pickle.loads(pickle.dumps(storage)) == storage
    error = raised(lambda: Storage(endpoint="http://user:hunter2@h").filesystem("s3://open/"))
    assert isinstance(error, SourceError)
    assert "hunter2" not in str(error)
    for uri in ("s3://key:hunter2@b/k", "https://h/k?X-Amz-Signature=hunter2"):
        assert "hunter2" not in str(storage_error(TimeoutError(), uri, "list"))


def test_a_filesystem_is_made_once_and_again_when_the_environment_changes(
    bucket: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Storage().filesystem("s3://open/")
    assert Storage().filesystem("s3://closed/") is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    assert Storage().filesystem("s3://open/") is not first
    with pytest.raises(SourceError):
        Storage().filesystem("https://host/")


def test_lance_reads_and_writes_by_the_options(bucket: S3Server) -> None:
    uri = "s3://open/storage/t.lance"
    options = Storage().lance_options(uri)
    lance.write_dataset(pa.table({"x": [1]}), uri, storage_options=options)
    assert lance.dataset(uri, storage_options=options).count_rows() == 1


def test_the_errors_of_lance_are_understood(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(uri: str) -> str | None:
        options = Storage().lance_options(uri)
        return failure_kind(raised(lambda: lance.dataset(uri, storage_options=options)))

    assert kind("s3://nobucket/t.lance") == "not_found"
    assert kind("s3://open/no.lance") == "not_found"
    bucket.make_bucket("closed")
    bucket.use(monkeypatch, READER)
    assert kind("s3://closed/t.lance") == "forbidden"
    bucket.use(monkeypatch, ("admin-key", "wrong"))
    assert kind("s3://open/t.lance") == "forbidden"
    bucket.use(monkeypatch, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{free_port()}")
    assert kind("s3://open/t.lance") == "network"


def test_no_credentials_at_all(bucket: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = raised(lambda: Storage().filesystem("s3://open/").call_s3("list_objects_v2", Bucket="open"))
    assert failure_kind(error) == "forbidden"
    assert "no credentials" in storage_error(error, "s3://open/", "list").message
    options = Storage().lance_options("s3://open/t.lance")
    error = raised(lambda: lance.dataset("s3://open/t.lance", storage_options=options))
    assert failure_kind(error) == "forbidden"


def test_a_server_that_accepts_and_stays_silent_times_out() -> None:
    # The kernel accepts for a listener that never does; a short time-out stands for the long one of production.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        filesystem = Storage(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}")._s3()
        filesystem.config_kwargs.update(read_timeout=0.5, retries={"total_max_attempts": 1})
        filesystem.key, filesystem.secret = ADMIN
        started = time.monotonic()
        error = raised(lambda: filesystem.call_s3("list_objects_v2", Bucket="open"))
        assert failure_kind(error) == "timeout"
        assert isinstance(storage_error(error, "s3://open/", "list"), StorageUnavailable)
        assert time.monotonic() - started < 120


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), "not_found"),
        (NotADirectoryError(errno.ENOTDIR, "x"), "not_found"),
        (PermissionError(errno.EACCES, "x"), "forbidden"),
        (OSError(errno.EPERM, "x"), "forbidden"),
        (OSError(errno.EIO, "x"), "network"),
        (OSError(errno.ESTALE, "x"), "network"),
        (OSError(errno.ETIMEDOUT, "x"), "timeout"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "network"),
        (TimeoutError(), "timeout"),
        (ValueError("nothing to do with it"), None),
        (KeyError("x"), None),
    ],
)
def test_failure_kind_of_the_operating_system(error: Exception, kind: str | None) -> None:
    assert failure_kind(error) == kind


def test_storage_error_names_the_address_and_the_mend() -> None:
    for error, kind, retryable in (
        (PermissionError(), SourceError, False),
        (FileNotFoundError(), SourceError, False),
        (TimeoutError(), StorageUnavailable, True),
        (OSError(errno.EIO, "x"), StorageUnavailable, True),
        (RuntimeError("?"), StorageUnavailable, True),
    ):
        for uri in ("s3://b/k", "file:///k"):
            made = storage_error(error, uri, "list")
            assert type(made) is kind
            assert made.retryable is retryable
            assert uri in made.message
            assert made.mend
    assert storage_error(made, "s3://b", "list") is made
