"""Fetching bytes, and the code of every way in which it fails."""

import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from pydantic import ByteSize

from clipflow.failures import ImageFailure
from clipflow.fetch import Body, Fetcher
from clipflow.spec import Limits, StorageSpec
from clipflow.storage import Storage
from clipflow.uri import canonical
from clipflow_airflow.stack.ports import free_port
from tests.s3 import READER, S3Server

ODD = ["a b", "50%20", "#1", "what?v=1", "ünï/∂", "x?versionId=7", "+&"]


def fetcher(most: int = 1000, endpoint: str | None = None) -> Fetcher:
    return Fetcher(Storage.of(StorageSpec(endpoint=endpoint)), Limits(max_bytes=ByteSize(most)))


def code(uri: str, most: int = 1000, endpoint: str | None = None) -> str:
    with pytest.raises(ImageFailure) as caught:
        fetcher(most, endpoint).fetch(uri)
    return caught.value.code


def test_files_are_read_whatever_their_name(tmp_path: Path) -> None:
    paths = [os.path.join(os.fsencode(tmp_path), name) for name in [b"\xff\xfe.jpg", *(name.encode() for name in ODD)]]
    for path in paths:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"data of " + path)
    wanted = [b"data of " + path for path in paths]
    assert fetcher().fetch_many([canonical(os.fsdecode(path)) for path in paths]) == [Body(data) for data in wanted]


def test_failures_of_files(tmp_path: Path) -> None:
    for name, size in (("empty", 0), ("full", 1000), ("over", 1001)):
        (tmp_path / name).write_bytes(b"x" * size)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert len(fetcher().fetch(f"file://{tmp_path}/full")) == 1000
    codes = {
        name: code(f"file://{tmp_path}/{name}") for name in ("empty", "over", "pipe", "gone", "loop", "full/x", "")
    }
    assert codes == {
        "empty": "empty",
        "over": "too_large",
        "pipe": "not_an_image",
        "gone": "not_found",
        "loop": "not_found",
        "full/x": "not_found",
        "": "not_an_image",
    }
    assert code(f"file://{tmp_path}/{'n' * 300}") == "not_found"


def test_order_is_kept_and_http_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    got = fetcher().fetch_many([f"file://{tmp_path}/no", "http://127.0.0.1/", f"file://{tmp_path}/a"])
    assert [one.code if isinstance(one, ImageFailure) else one for one in got] == [
        "not_found",
        "blocked_address",
        Body(b"a"),
    ]
    assert fetcher().fetch_many([]) == []


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


def test_objects_are_read_whatever_their_key(bucket: S3Server) -> None:
    uris = [bucket.put(f"fetch/{name}", name.encode()) for name in ODD] * 10
    assert fetcher().fetch_many(uris) == [Body(name.encode()) for name in ODD] * 10


def test_failures_of_objects(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.make_bucket("closed")
    hidden = bucket.put("a", b"a", bucket="closed")
    assert code(bucket.put("fetch/empty", b"")) == "empty"
    assert code(bucket.put("fetch/over", b"x" * 1001)) == "too_large"
    assert len(fetcher().fetch(bucket.put("fetch/full", b"x" * 1000))) == 1000
    assert code("s3://open/fetch/gone") == code("s3://nobucket/a") == code("s3://open") == "not_found"
    bucket.use(monkeypatch, READER)
    assert code(hidden) == "forbidden"
    assert len(fetcher().fetch("s3://open/fetch/full")) == 1000
    bucket.use(monkeypatch, ("admin-key", "wrong"))
    assert code("s3://open/fetch/full") == "forbidden"


def test_a_large_object_is_not_read(bucket: S3Server) -> None:
    data = os.urandom(25_000_000)
    uri = bucket.put("fetch/large", data)
    assert code(uri, 10_000_000) == "too_large"
    assert fetcher(25_000_000).fetch(uri) == data


def test_a_dead_endpoint_is_a_network_failure(bucket: S3Server) -> None:
    started = time.monotonic()
    got = fetcher(endpoint=f"http://127.0.0.1:{free_port()}").fetch_many(["s3://open/a", "s3://open/b"])
    assert [one.code for one in got if isinstance(one, ImageFailure)] == ["network", "network"]
    # Bounded retries, not a user's whole evening; a busy machine has time enough.
    assert time.monotonic() - started < 120


@contextmanager
def server_that_answers(*answers: bytes) -> Iterator[str]:
    """A loopback server that gives each connection the next answer, the last one for ever, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            left = list(answers)
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(65_536)
                    connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def answer(body: bytes, length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


def test_a_broken_transfer_is_tried_again(bucket: S3Server) -> None:
    with server_that_answers(answer(b"half", 8), answer(b"complete", 8)) as endpoint:
        assert fetcher(endpoint=endpoint).fetch("s3://open/a") == b"complete"
    with server_that_answers(answer(b"half", 8)) as endpoint:
        assert code("s3://open/a", endpoint=endpoint) == "network"


def test_a_server_out_of_order_is_a_network_failure(bucket: S3Server) -> None:
    with server_that_answers(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as endpoint:
        assert code("s3://open/a", endpoint=endpoint) == "network"


def _in_another_process(packed: bytes, uri: str) -> bytes:
    unpacked: Fetcher = pickle.loads(packed)
    return unpacked.fetch(uri)


@pytest.mark.filterwarnings("ignore:.*fork-safe")  # another test may have imported Lance, which is not used here
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_fetcher_travels_to_other_processes(bucket: S3Server, start: str) -> None:
    uri = bucket.put("fetch/travel", b"far")
    given = fetcher()
    assert given.fetch(uri) == b"far"
    packed = pickle.dumps(given)
    assert b"secret" not in packed
    with get_context(start).Pool(1) as pool:
        assert pool.apply_async(_in_another_process, (packed, uri)).get(500) == b"far"


def test_a_fetcher_is_shared_among_threads(bucket: S3Server) -> None:
    uris = [bucket.put(f"fetch/thread/{at}", b"%d" % at) for at in range(20)]
    given = fetcher()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(given.fetch, uris)) == [b"%d" % at for at in range(20)]
