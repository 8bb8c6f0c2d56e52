"""The watcher of uploads: no upload is missed, and Airflow's own runner decides when it may forget."""

import asyncio
import contextlib
import json
import logging
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk import AssetWatcher
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from airflow.serialization.encoders import encode_trigger
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseEventTrigger
from airflow.triggers.shared_stream import AckTimeout, AdvanceItem, AdvanceOutcome
from hypothesis import given
from hypothesis import strategies as st

from clipflow.errors import UsageError
from clipflow.interval import EPOCH, moment
from clipflow_airflow import NewUploadsTrigger
from clipflow_airflow.prefix import Prefix
from clipflow_airflow.sandbox import Sandbox
from clipflow_airflow.sketch import Sketch
from clipflow_airflow.watch import Sight, Watch
from tests.examples import examples

if TYPE_CHECKING:
    from tests.s3 import S3Server

DAG_FILE = Path(__file__).parents[2] / "dags" / "clip_embed_uploads.py"
WATCH = 7
Payload = dict[str, Any]


class Store:
    """The asset state store as a trigger sees it; a value must survive JSON, as there."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


def trigger_of(uri: object, store: Store | None = None, *, watch: int = WATCH, **arguments: Any) -> NewUploadsTrigger:
    trigger = NewUploadsTrigger(str(uri), poll_seconds=1, **arguments)
    trigger.trigger_id = watch
    trigger.asset_state_store = store  # type: ignore[assignment]
    return trigger


class Triggerer:
    """Airflow's own runner with one trigger; what its supervisor would do is called by the tests."""

    def __init__(self, trigger: NewUploadsTrigger) -> None:
        # Airflow leaves this untyped.
        self.runner = TriggerRunner()  # type: ignore[no-untyped-call]
        self.trigger = trigger

    async def __aenter__(self) -> "Triggerer":
        self.task = asyncio.create_task(self.runner.run_trigger(WATCH, self.trigger))
        self.runner.triggers[WATCH] = {"task": self.task, "is_watcher": True, "name": "uploads", "events": 0}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def event(self) -> tuple[Payload, int]:
        """The next event that waits for being stored, and the number to confirm it by."""
        await until(lambda: bool(self.runner.events) or self.task.done())
        entry = self.runner.events.popleft()
        assert entry.persist_seq is not None
        return entry.event.payload, entry.persist_seq

    async def stored(self, number: int, store: Store) -> None:
        """Confirm that an event is stored, and wait for what that leads to."""
        before = dict(store.values)
        self.runner._shared_streams.confirm_persisted([number])
        await until(lambda: store.values != before)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not holds():
            await asyncio.sleep(0.01)


def go(test: Awaitable[None]) -> None:
    async def whole() -> None:
        await test

    asyncio.run(whole())


def write(folder: Path, name: str, at: float | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
    if at is not None:
        os.utime(path, (at, at))
    return path


async def first(trigger: NewUploadsTrigger) -> Payload:
    """The first event of a trigger that runs alone."""
    async with asyncio.timeout(300):
        stream = trigger.run()
        assert isinstance(stream, AsyncGenerator)
        payload: Payload = (await anext(stream)).payload
        await stream.aclose()
        return payload


# --- what Airflow does with it ----------------------------------------------------------------------------------------


def test_events_in_the_triggerers_own_runner(tmp_path: Path) -> None:
    store = Store()

    async def test() -> None:
        write(tmp_path, "a.jpg", 1_000_000)
        write(tmp_path, "deep/er/b.jpg", 2_000_000)
        async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
            payload, number = await triggerer.event()
            assert payload == {
                "uri": f"file://{tmp_path}",
                "listed": 2,
                "new": 2,
                "oldest": "1970-01-12T13:46:40Z",
                "newest": "1970-01-24T03:33:20Z",
            }
            assert not store.values, "Airflow has not stored the event yet"
            await triggerer.stored(number, store)

            write(tmp_path, "same-second.jpg", 2_000_000)
            payload, number = await triggerer.event()
            assert (payload["new"], payload["oldest"], payload["newest"]) == (1, *["1970-01-24T03:33:20Z"] * 2)
            await triggerer.stored(number, store)

            write(tmp_path, "late.jpg", 3)
            payload, number = await triggerer.event()
            assert (payload["new"], payload["oldest"], payload["listed"]) == (1, "1970-01-01T00:00:03Z", 4)

    go(test())


def test_killed_between_the_event_and_its_storing(tmp_path: Path) -> None:
    store = Store()

    async def test() -> None:
        write(tmp_path, "a.jpg")
        for _ in range(2):
            async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
                payload, number = await triggerer.event()
                assert payload["new"] == 1, "nobody has stored it, so it is sent again"
        assert not store.values
        async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
            _, number = await triggerer.event()
            await triggerer.stored(number, store)
        write(tmp_path, "b.jpg")
        async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
            payload, _ = await triggerer.event()
            assert (payload["new"], payload["listed"]) == (1, 2), "only what came while nobody watched"

    go(test())


def test_cancelled_while_the_event_is_handed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")

    async def test() -> None:
        trigger = trigger_of(tmp_path, Store())
        sight = await Watch(Prefix.of(str(tmp_path), None), 1).look()
        events = trigger.filter_shared_stream(stream_of(sight))
        assert isinstance(events, AsyncGenerator)
        await anext(events)
        await events.aclose()
        assert sight.keep is None, "the runner may never have got the event"

    go(test())


def test_a_pause_of_the_dag_makes_another_watch(tmp_path: Path) -> None:
    store = Store()

    async def test() -> None:
        write(tmp_path, "a.jpg")
        async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
            _, number = await triggerer.event()
            await triggerer.stored(number, store)
        async with Triggerer(trigger_of(tmp_path, store, watch=WATCH + 1)) as triggerer:
            payload, _ = await triggerer.event()
            assert payload["new"] == 1

    go(test())


def test_an_event_that_is_never_stored_is_never_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIGGERER__SHARED_STREAM_ACK_TIMEOUT", "0.1")
    write(tmp_path, "a.jpg")
    store = Store()

    async def test() -> None:
        async with Triggerer(trigger_of(tmp_path, store)) as triggerer:
            await triggerer.event()
            with pytest.raises(AckTimeout):
                await triggerer.task
        assert not store.values

    go(test())


async def stream_of(*sights: Sight) -> AsyncIterator[Sight]:
    for sight in sights:
        yield sight


# --- never missed -----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d/e", "d/f"])
TIMES = st.sampled_from([1_000_000, 1_000_001, 1_021_600, 1_021_601])
STEPS = st.one_of(
    st.tuples(st.just("upload"), NAMES, TIMES),
    st.tuples(st.just("delete"), NAMES, st.just(0)),
    st.tuples(st.just("many"), NAMES, TIMES),
    st.tuples(st.just("poll"), st.sampled_from(["fine", "event lost", "memory lost"]), st.just(0)),
)


class World:
    """A folder, a store, and a watch that may die at the worst moments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store()
        self.watch = Watch(Prefix.of(str(folder), None), 1)
        self.covered: set[tuple[str, int]] = set()
        self.start()

    def start(self) -> None:
        self.queue: asyncio.Queue[Sight] = asyncio.Queue()
        self.events = trigger_of(self.folder, self.store).filter_shared_stream(self.sights())
        self.next = asyncio.ensure_future(anext(self.events))
        self.answered = asyncio.Event()

    async def sights(self) -> AsyncIterator[Sight]:
        while True:
            sight = await self.queue.get()
            yield sight
            self.answered.set()

    def files(self) -> set[tuple[str, int]]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {(str(path), path.stat().st_mtime_ns // 1000) for path in paths}

    async def poll(self, fate: str) -> Payload | None:
        sight, there = await self.watch.look(), self.files()
        self.answered.clear()
        self.queue.put_nowait(sight)
        answered = asyncio.ensure_future(self.answered.wait())
        await asyncio.wait({self.next, answered}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        payload: Payload | None = None
        if self.next.done():
            payload = self.next.result().payload
            self.next = asyncio.ensure_future(anext(self.events))
            await self.answered.wait()
        if fate == "event lost":
            await self.die()
            return None
        if payload is not None:
            assert len(json.dumps(payload)) < 1024
            self.covered |= {file for file in there if encloses(payload, file[1])}
        if fate == "memory lost":
            await self.die()
        else:
            await self.watch.advance([AdvanceItem(sight, AdvanceOutcome(acked=1, failed=0))])
        return payload

    async def die(self) -> None:
        self.next.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.next
        self.start()


def encloses(payload: Payload, modified: int) -> bool:
    at = EPOCH + timedelta(microseconds=modified)
    return moment(payload["oldest"]) <= at <= moment(payload["newest"])


@examples(40)
@given(st.lists(STEPS, max_size=12))
def test_every_upload_is_in_a_stored_event(steps: list[tuple[str, str, int]]) -> None:
    async def test(folder: Path) -> None:
        world = World(folder)
        for step, what, at in steps:
            path = folder / what
            if step == "upload":
                write(folder, what, at)
            elif step == "many":
                # More than a sketch can tell apart.
                for number in range(250):
                    write(folder, f"many/{what}/{number}", at)
            elif step == "delete":
                path.unlink(missing_ok=True)
            else:
                await world.poll(what)
        await world.poll("fine")
        assert world.files() <= world.covered
        assert await world.poll("fine") is None, "nothing new, no event"
        await world.die()
        assert await world.poll("fine") is None, "it is remembered"
        world.next.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await world.next

    folder = Path(tempfile.mkdtemp(prefix="cf-uploads-"))
    try:
        go(test(folder))
    finally:
        shutil.rmtree(folder)


OBJECTS = st.dictionaries(st.text(max_size=5), st.integers(-(2**62), 2**62), max_size=30)


@given(OBJECTS, OBJECTS)
def test_a_sketch_tells_exactly_what_is_new(before: dict[str, int], now: dict[str, int]) -> None:
    earlier, later = sketch_of(before), sketch_of(now)
    assert later.since(earlier) is not None
    assert sorted(later.since(earlier) or []) == sorted(at for name, at in now.items() - before.items())
    assert Sketch.read(later.text()) == later
    assert len(later) == len(now)


def sketch_of(objects: dict[str, int]) -> Sketch:
    sketch = Sketch()
    for name, at in objects.items():
        sketch.add(name, at)
    return sketch


def test_too_many_to_tell_apart_is_never_taken_for_nothing() -> None:
    many = sketch_of({f"{number}": number for number in range(20_000)})
    assert many.since(Sketch()) is None
    assert Sketch().since(many) is None
    assert many.since(sketch_of({f"{number}": number for number in range(19_990)})) is not None
    assert len(json.dumps(many.text())) < 32_000


@pytest.mark.parametrize("text", ["", "1,2,3", " ".join(["0,0"] * 288), "x" * 100])
def test_a_broken_sketch_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Sketch.read(text)


def test_deletions_start_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path)
        for name in "abc":
            write(tmp_path, name)
        assert await world.poll("fine") is not None
        (tmp_path / "a").unlink()
        assert await world.poll("fine") is None
        (tmp_path / "b").unlink()
        write(tmp_path, "d")
        assert (await world.poll("fine") or {})["new"] == 1
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        assert await world.poll("fine") is None
        await world.die()
        world.next.cancel()

    go(test())


def test_a_wrong_memory_costs_a_second_sight(tmp_path: Path) -> None:
    write(tmp_path, "a")
    store = Store()
    trigger = trigger_of(tmp_path, store)
    for value in ("text", [1], {"trigger_id": WATCH}, {"trigger_id": WATCH, "sketch": "?"}, {"trigger_id": 1}):
        store.values[trigger._key] = json.dumps(value)
        assert asyncio.run(first(trigger_of(tmp_path, store, existing=False)))["new"] == 1


def test_from_now_on(tmp_path: Path) -> None:
    store = Store()

    async def test() -> None:
        write(tmp_path, "old.jpg")
        async with Triggerer(trigger_of(tmp_path, store, existing=False)) as triggerer:
            await until(lambda: bool(store.values))
            write(tmp_path, "new.jpg")
            payload, _ = await triggerer.event()
            assert (payload["listed"], payload["new"]) == (2, 1)

    go(test())


# --- looking ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_comes_late(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mount"

    async def test() -> None:
        event = asyncio.create_task(first(trigger_of(folder)))
        await until(lambda: bool(caplog.records))
        write(folder, "a.jpg")
        assert (await event)["new"] == 1

    with caplog.at_level(logging.WARNING, "clipflow_airflow"):
        go(test())
    said = caplog.records[0].getMessage()
    assert said.startswith(f"Cannot list file://{folder}: it does not exist.")
    assert "\n" not in said
    assert caplog.records[0].exc_info is None


def test_an_empty_prefix_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "folder/inside").mkdir(parents=True)

    async def test() -> None:
        world = World(tmp_path)
        assert await world.poll("fine") is None
        world.next.cancel()

    go(test())


def test_links_and_odd_files(tmp_path: Path) -> None:
    uploads, outside = tmp_path / "uploads", tmp_path / "outside"
    write(uploads, "a.jpg", -1_000_000_000)
    write(outside, "b.jpg")
    (uploads / "out").symlink_to(outside)
    (uploads / "round").symlink_to(uploads)
    (uploads / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    os.mkfifo(uploads / "pipe")
    sight = asyncio.run(Watch(Prefix.of(str(uploads), None), 1).look())
    assert len(sight.sketch) == 4, "two files and two links, none of them followed"
    assert asyncio.run(first(trigger_of(uploads)))["oldest"].startswith("1938")


def test_the_loop_goes_on_while_a_folder_is_listed(tmp_path: Path) -> None:
    for number in range(3_500):
        (tmp_path / f"{number}").touch()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def test() -> None:
        counting = asyncio.create_task(count())
        sight = await Watch(Prefix.of(str(tmp_path), None), 1).look()
        counting.cancel()
        assert len(sight.sketch) == 3_500

    go(test())
    assert turns > 3, "at least once for each page"


def test_s3(s3: "S3Server", monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: s3.put(f"watched/{number:04}.jpg", b"x"), range(1_005)))
    s3.put("watched-not/a.jpg", b"x")
    s3.put("watched/folder/", b"")
    store = Store()

    async def test() -> None:
        async with Triggerer(trigger_of("s3://open/watched", store)) as triggerer:
            payload, number = await triggerer.event()
            assert (payload["uri"], payload["new"]) == ("s3://open/watched/", 1_005)
            await triggerer.stored(number, store)
            s3.put("watched/0000.jpg", b"another")
            payload, _ = await triggerer.event()
            assert (payload["new"], payload["listed"]) == (1, 1_005)

    go(test())


def test_s3_says_no_in_one_sentence(
    s3: "S3Server", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    s3.use(monkeypatch, ("admin-key", "wrong-secret-123"))

    async def test(uri: str, **storage: str) -> None:
        caplog.clear()
        task = asyncio.create_task(first(trigger_of(uri, storage=storage)))
        await until(lambda: bool(caplog.records))
        task.cancel()

    with caplog.at_level(logging.DEBUG, "clipflow_airflow"):
        for uri, endpoint in (("s3://open/x", s3.endpoint), ("s3://open/x", "http://127.0.0.1:9")):
            go(test(uri, endpoint=endpoint))
            said = caplog.records[0].getMessage()
            assert said.startswith("Cannot list s3://open/x/: ")
            assert "\n" not in said
            assert "wrong-secret" not in caplog.text


def test_looking_needs_no_engine(tmp_path: Path, s3: "S3Server") -> None:
    s3.put("light/a.jpg", b"x")
    write(tmp_path, "a.jpg")
    code = """
import asyncio, sys
from clipflow_airflow import NewUploadsTrigger
for uri in sys.argv[1:]:
    async def first():
        async for event in NewUploadsTrigger(uri).run():
            return event.payload
    assert asyncio.run(first())["new"] == 1
print("modules", *{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "s3://open/light"],
        env={**os.environ, **s3.env()},
        check=True,
        capture_output=True,
        text=True,
        timeout=500,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"clipflow_airflow", "s3fs"} <= loaded
    assert not loaded & {"torch", "ray", "lance", "lancedb", "pyarrow", "duckdb", "transformers", "numpy", "PIL"}


# --- the arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "https://host/x"}, "http has no folders"),
        ({"uri": "s3://bucket/*.jpg"}, "glob"),
        ({"uri": "/data/x[1]"}, "glob"),
        ({"uri": "gs://bucket/x"}, "'gs'"),
        ({"uri": "s3://"}, "bucket"),
        ({"uri": ""}, "empty"),
        ({"uri": "s3://me:secret-1@bucket/x"}, "password"),
        ({"uri": "/x", "poll_seconds": 0.5}, "between 1 and"),
        ({"uri": "/x", "poll_seconds": float("nan")}, "between 1 and"),
        ({"uri": "/x", "poll_seconds": True}, "between 1 and"),
        ({"uri": "s3://b/x", "storage": {"secret": "secret-1"}}, "endpoint, region and profile"),
        ({"uri": "s3://b/x", "storage": {"endpoint": "http://me:secret-1@host"}}, "password"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        NewUploadsTrigger(**arguments)
    assert "secret-1" not in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize("storage", [None, {"endpoint": "http://127.0.0.1:1", "region": "here"}])
def test_airflow_keeps_it_as_it_is(storage: dict[str, str] | None) -> None:
    trigger = NewUploadsTrigger("s3://bucket/x", poll_seconds=5.0, existing=False, storage=storage)
    encoded = encode_trigger(trigger)
    row = Trigger(encoded["classpath"], encoded["kwargs"])
    ours, theirs = (BaseEventTrigger.hash(row.classpath, kwargs) for kwargs in (encoded["kwargs"], row.kwargs))
    assert ours == theirs, "else every parsing of the DAG file would make a new watch"
    decode: Any = smart_decode_trigger_kwargs  # Airflow leaves this untyped.
    again = {key: decode(value) for key, value in row.kwargs.items()}
    assert NewUploadsTrigger(**again).serialize() == trigger.serialize()
    assert trigger.serialize()[0] == "clipflow_airflow.uploads.NewUploadsTrigger"


# --- the DAG ----------------------------------------------------------------------------------------------------------


def test_the_dag_watches_where_it_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPFLOW_UPLOADS", str(tmp_path))
    monkeypatch.setenv("CLIPFLOW_POLL_SECONDS", "5")
    monkeypatch.setenv("CLIPFLOW_POOL", "gpu")
    dag = runpy.run_path(str(DAG_FILE))["dag"]
    (asset,) = dag.schedule
    (watcher,) = asset.watchers
    assert isinstance(watcher, AssetWatcher)
    kwargs = watcher.trigger.serialize()[1]
    assert (kwargs["uri"], kwargs["poll_seconds"]) == (f"file://{tmp_path}", 5)
    assert [task.pool for task in dag.tasks] == ["gpu"]
    assert dag.max_active_runs == 1
    DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def test_the_dag_alone_watches_nothing(sandbox: Sandbox) -> None:
    assert sandbox.dag("clip_embed_uploads").schedule is None
