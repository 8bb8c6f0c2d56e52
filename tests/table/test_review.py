"""A human's verdict: written, kept, handed over, withdrawn; and never half, never lost."""

import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.cli import main
from clipflow.errors import QueryError, UsageError
from clipflow.report import RunReport
from clipflow.schema import REVIEW_COLUMNS
from clipflow.spec import JobSpec
from clipflow.table.queue import read_queue
from clipflow.table.review import Review, Verdict, review
from clipflow.table.runs import Operation
from clipflow.table.withdraw import withdraw
from clipflow.uri import canonical, image_id
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.drivers import Driver
from tests.examples import chances, examples, turns
from tests.s3 import S3Server
from tests.table.staging import assignment, commit, staged
from tests.table.test_commit import forget

# 40 pixels high: in the queue. 30: rejected. 60: accepted.
POLICY = {"rules": [{"name": "small", "score": "min_side", "review_below": 45, "reject_below": 35}]}
BY_HEIGHT = {30: "rejected", 40: "review", 60: "accepted"}
ANN = Review("rejected", "ann", "a screenshot")

Filled = tuple[JobSpec, str]


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """Three pictures of every verdict, the first ones embedded a commit earlier, and one that is broken."""
    for number, height in enumerate(3 * [40] + 3 * [30] + 3 * [60]):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"images/{number}.png").write_bytes(picture(number, height=height, width=80))
    (tmp_path / "images/broken.png").write_bytes(b"no picture")
    spec = job(tmp_path / "images", tmp_path / "t.lance", policy=POLICY)
    clipflow.run(spec, ray="none")
    return spec, str(tmp_path / "t.lance")


def key(spec: JobSpec, name: str) -> str:
    return image_id(canonical(f"{spec.source.uri}/{name}"))


def version(table: str) -> int:
    return int(lance.dataset(table).version)


def reviewed(table: str, image: str) -> dict[str, Any]:
    row = rows(table)[image]
    return {name: row[name] for name in ("status", "reasons", *REVIEW_COLUMNS)}


def test_a_verdict_is_written_with_who_when_and_why_and_nothing_else_changes(filled: Filled) -> None:
    spec, table = filled
    before, at = rows(table), version(table)
    report = review(table, [key(spec, "0.png")], ANN)
    assert (report.changed, report.queue, report.version) == (1, 2, at + 1)
    after = rows(table)
    row = after[key(spec, "0.png")]
    assert (row["status"], row["reasons"]) == ("rejected", ["small"])
    assert [row[name] for name in REVIEW_COLUMNS[:3]] == ["rejected", "ann", "a screenshot"]
    assert row["reviewed_at"] == row["judged_at"] > before[key(spec, "0.png")]["judged_at"]
    changed = {"status", "status_at", "judged_at", *REVIEW_COLUMNS}
    for image, was in before.items():
        mine = image == key(spec, "0.png")
        assert {name for name in was if was[name] != after[image][name]} == (changed if mine else set())


def test_the_same_review_again_writes_no_version_and_another_reason_does(filled: Filled) -> None:
    spec, table = filled
    images = [key(spec, f"{n}.png") for n in range(4)]
    first = review(table, images, ANN)
    again = review(table, images, ANN)
    assert (first.changed, again.changed, again.version) == (4, 0, first.version)
    other = review(table, images[:1], Review("rejected", "ann", "blurred"))
    assert (other.changed, other.version) == (1, first.version + 1)
    accepted = review(table, images[:2], Review("accepted", "bob", "fine"))
    assert (accepted.changed, accepted.queue) == (2, 0)
    assert [rows(table)[image]["status"] for image in images] == ["accepted", "accepted", "rejected", "rejected"]


@pytest.mark.parametrize("verdict", ["accepted", "rejected"])
def test_a_withdrawal_gives_back_what_the_rules_say(filled: Filled, verdict: Verdict) -> None:
    _, table = filled
    before = {image: row for image, row in rows(table).items() if row["status"] != "failed"}
    review(table, list(before), Review(verdict, "ann", "all of them"))
    assert {row["status"] for row in rows(table).values()} == {verdict, "failed"}
    report = review(table, list(before), Review(None, "bob", "a mistake"))
    assert (report.changed, report.queue) == (9, 3)
    after = rows(table)
    for image, row in before.items():
        same = [name for name in row if name not in ("status_at", "judged_at")]
        assert {name: after[image][name] for name in same} == {name: row[name] for name in same}
    assert review(table, list(before), Review(None, "bob", "a mistake")).version == report.version


def test_an_image_may_be_named_by_id_by_its_beginning_or_by_address(filled: Filled) -> None:
    spec, table = filled
    folder = Path(spec.source.uri)
    names = [key(spec, "0.png"), key(spec, "0.png")[:8].upper(), f"{folder}/0.png", canonical(folder / "1.png")]
    report = review(table, names, ANN)
    assert (report.rows, report.changed) == (2, 2)


REFUSED: dict[str, tuple[list[str], str]] = {
    "unknown id": (["{known}", "0" * 32], f"no row of '{'0' * 32}'"),
    "unknown beginning": (["00000000"], "no row of '00000000'"),
    "several unknown": (["00000000", "00000001", "00000002"], "nor of 2 others"),
    "too short": (["abcdef1"], "too short"),
    "unknown address": (["s3://bucket/key"], "no row of 's3://bucket/key'"),
    "a login": (["http://user:secret@host/x"], "carries a user or a password"),
    "failed": (["{known}", "{broken}"], "failed, so there is nothing to review"),
    "nothing": ([], "No image was named"),
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_cannot_be_reviewed_is_named_and_nothing_is_written(filled: Filled, call: str) -> None:
    spec, table = filled
    names, words = REFUSED[call]
    places = {"known": key(spec, "0.png"), "broken": key(spec, "broken.png")}
    before = (version(table), version(table.replace("t.lance", "t_runs.lance")))
    with pytest.raises(UsageError, match=words) as caught:
        review(table, [name.format(**places) for name in names], ANN)
    assert "secret" not in str(caught.value)
    assert (version(table), version(table.replace("t.lance", "t_runs.lance"))) == before


def test_a_beginning_that_two_images_share_is_refused(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, {"key": 0xABCDEF0100 << 88}, {"key": 0xABCDEF0199 << 88}))
    table = str(tmp_path / "t.lance")
    with pytest.raises(UsageError, match="several images"):
        review(table, ["abcdef01"], ANN)
    assert review(table, ["abcdef0199"], ANN).changed == 1


@pytest.mark.parametrize(("by", "why"), [("", "x"), (" ", "x"), ("x", ""), ("x", "\n")])
def test_nobody_reviews_namelessly_or_without_a_reason(by: str, why: str) -> None:
    with pytest.raises(UsageError, match="A review needs"):
        Review("accepted", by, why)


@pytest.mark.parametrize(("by", "why"), [("\udcff", "x"), ("x", "caf\udce9")])
def test_a_review_is_said_in_unicode(by: str, why: str) -> None:
    with pytest.raises(UsageError, match="not valid Unicode"):
        Review("accepted", by, why)


def test_what_was_forgotten_is_not_written_again(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, {"key": 1, "bytes": 77}, {"key": 2}))
    forget(tmp_path, "sha256", f"{77:064x}")
    table = str(tmp_path / "t.lance")
    with pytest.raises(UsageError, match="has no row of"):
        review(table, [f"{1:032x}", f"{2:032x}"], ANN)
    assert review(table, [f"{2:032x}"], ANN).changed == 1


def test_the_operation_says_who_and_how_many_and_names_no_image_and_no_reason(filled: Filled) -> None:
    spec, table = filled
    report = review(table, [key(spec, "0.png"), key(spec, "1.png")], ANN)
    (run,) = clipflow.open(table).sql("select * from runs where verb = 'review'")
    assert (run["run_id"], run["state"]) == (report.run_id, "done")
    assert run["to_version"] == run["from_version"] + 1 == report.version
    detail = json.loads(run["detail"])
    assert detail == {"by": "ann", "verdict": "rejected", "rows": 2, "changed": 2, "queue": 1}
    text = json.dumps(run, default=str)
    for word in ("screenshot", "0.png", key(spec, "0.png"), key(spec, "1.png")):
        assert word not in text
    assert rows(table)[key(spec, "0.png")]["run_id"] != report.run_id, "who embedded it stays"


def test_the_queue_is_in_the_order_of_embedding_and_says_how_many_remain(filled: Filled) -> None:
    spec, table = filled
    (Path(spec.source.uri) / "late.png").write_bytes(picture(77, height=40, width=80))
    clipflow.run(spec, ray="none")
    first = sorted(key(spec, f"{n}.png") for n in range(3))
    queue = read_queue(table, k=2)
    assert [row["image_id"] for row in queue.rows] == first[:2]
    assert (queue.matching, queue.queue) == (4, 4)
    assert [row["image_id"] for row in read_queue(table).rows] == [*first, key(spec, "late.png")]
    (score,) = queue.rows[0]["scores"]
    assert (score["rule"], score["value"], score["fired"]) == ("small", 40.0, ["review_below"])
    assert score["bounds"] == {"review_below": 45, "reject_below": 35}
    assert queue.rows[0]["reasons"] == ["small"]
    narrow = read_queue(table, where="source_uri LIKE '%late%' OR false")
    assert ([row["image_id"] for row in narrow.rows], narrow.matching, narrow.queue) == ([key(spec, "late.png")], 1, 4)
    with pytest.raises(QueryError, match="cannot be used"):
        read_queue(table, where="colour = 1")
    with pytest.raises(QueryError, match="k is 0"):
        read_queue(table, k=0)


def test_thousands_of_images_in_one_call(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, *({"key": number} for number in range(5000))))
    table = str(tmp_path / "t.lance")
    before = version(table)
    images = [f"{number:032x}" for number in range(0, 5000, 2)]
    (tmp_path / "ids.txt").write_text("\n".join([*images, "", ""]))
    words = ["review", table, "--reject", "--from", str(tmp_path / "ids.txt"), "--by", "ann", "--why", "x"]
    assert main(words) == 0
    found = rows(table)
    assert [image for image, row in found.items() if row["status"] == "rejected"] == images
    assert (len(found), version(table)) == (5000, before + 1)


Say = Callable[..., tuple[int, Any]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def said(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return said


def test_the_command_line_reviews_lists_and_withdraws(filled: Filled, say: Say) -> None:
    spec, table = filled
    code, queue = say("review", table, "--list", "-k", 1)
    assert (code, queue["queue"], len(queue["rows"])) == (0, 3, 1)
    image = queue["rows"][0]["image_id"]
    code, done = say("review", table, "--accept", image, f"{spec.source.uri}/3.png", "--by", "ann", "--why", "good")
    assert (code, done["changed"], done["queue"]) == (0, 2, 2)
    assert {"version", "run_id", "table"} <= set(done)
    code, undone = say("review", table, "--withdraw", image[:10], "--by", "ann", "--why", "not good")
    assert (code, undone["changed"], undone["queue"]) == (0, 1, 3)
    assert say("review", table, "--list")[1]["rows"][0]["image_id"] == image


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "is required"),
        (["--list", "--accept", "x"], "not allowed"),
        (["--list", "--by", "ann"], "--by goes with --accept"),
        (["--accept", "00000000", "--why", "x"], "needs `by`"),
        (["--reject", "00000000", "--by", "x"], "needs `why`"),
        (["--reject", "--by", "x", "--why", "y"], "No image was named"),
        (["--reject", "--from", "none.txt", "--by", "x", "--why", "y"], "cannot be read"),
        (["--reject", "0" * 32, "-k", "3", "--by", "x", "--why", "y"], "-k goes with --list"),
        (["--reject", "0" * 32, "--where", "true", "--by", "x", "--why", "y"], "--where goes with --list"),
    ],
)
def test_a_wrong_call_ends_with_two(filled: Filled, say: Say, words: list[str], says: str) -> None:
    before = version(filled[1])
    code, document = say("review", filled[1], *words)
    assert code == 2
    assert says in document["error"]["message"]
    assert version(filled[1]) == before


def test_a_failure_of_the_same_bytes_keeps_the_verdict_for_the_day_they_are_embedded(tmp_path: Path) -> None:
    first, second, third = (assignment(tmp_path, run) for run in "abc")
    image = f"{1:032x}"
    commit(first, staged(first, {"key": 1, "bytes": 5}))
    review(str(tmp_path / "t.lance"), [image], ANN)
    landed = commit(second, staged(second, {"key": 1, "bytes": 5, "code": "too_many_pixels", "prior": "a"}))
    assert (landed.outcomes, landed.statuses) == ({"failed": 1}, {})
    row = rows(tmp_path / "t.lance")[image]
    assert (row["status"], row["reasons"], row["reviewed_by"]) == ("failed", ["too_many_pixels"], "ann")
    landed = commit(third, staged(third, {"key": 1, "bytes": 5, "prior": "b"}))
    assert landed.statuses == {"rejected": 1}
    assert rows(tmp_path / "t.lance")[image]["status"] == "rejected"


def test_a_withdrawn_object_and_a_verdict_live_beside_each_other(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(3))
    spec = job(tmp_path / "images", tmp_path / "t.lance", source={"deleted": "reject"}, policy=POLICY)
    clipflow.run(spec, ray="none")
    table, gone = str(tmp_path / "t.lance"), key(spec, "000001.png")
    (tmp_path / "images/000001.png").unlink()
    clipflow.run(spec, ray="none")
    assert reviewed(table, gone)["reasons"] == ["small", "source_deleted"]
    for verdict in ("accepted", None, "accepted"):
        review(table, [gone], Review(verdict, "ann", "we keep it"))
        row = reviewed(table, gone)
        assert (row["status"], row["reasons"]) == ("rejected", ["small", "source_deleted"]), "the verdict waits"
        assert row["reviewed_verdict"] == verdict
        at = version(table)
        assert clipflow.run(spec, ray="none").version == at
    draw(tmp_path / "images", [1])
    report = clipflow.run(spec, ray="none").document()
    assert (report["reused"], report["accepted"]) == (1, 1)
    assert (reviewed(table, gone)["status"], reviewed(table, gone)["reasons"]) == ("accepted", ["small"])


def test_a_row_that_was_reviewed_after_planning_is_withdrawn_and_its_verdict_waits(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, {"key": 1}, {"key": 2}))
    table, images = str(tmp_path / "t.lance"), [f"{key:032x}" for key in (1, 2)]
    planned = pa.table({"image_id": images, "run_id": ["a", "a"]})
    review(table, images[:1], Review("accepted", "ann", "we keep it"))
    later = assignment(tmp_path, "b")
    with Operation(later.address, later.record, RunReport("b")) as operation:
        operation.open()
        assert withdraw(later.address, [planned], operation)[0] == 2
    assert [rows(table)[image]["status"] for image in images] == ["rejected", "rejected"]
    assert rows(table)[images[0]]["reviewed_verdict"] == "accepted"


def test_on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    s3.make_bucket("review")
    for number in range(3):
        s3.put(f"images/{number}.png", picture(number, height=40), "review")
    table = "s3://review/lake/t.lance"
    clipflow.run(job("s3://review/images/", table, policy=POLICY), ray="none")
    opened = clipflow.open(table)
    report = opened.review(["s3://review/images/0.png"], "accepted", by="ann", why="fine")
    assert (report.changed, report.queue) == (1, 2)
    assert opened.review(["s3://review/images/0.png"], "accepted", by="ann", why="fine").version == report.version
    found = opened.explain("s3://review/images/0.png").document()
    assert (found["status"], found["rules_say"]["status"]) == ("accepted", "review")
    assert [step["event"] for step in found["history"]["steps"]] == ["appeared", "changed"]
    assert {row["source_uri"] for row in opened.queue().rows} == {f"s3://review/images/{n}.png" for n in (1, 2)}


NAMES = st.sampled_from(["0.png", "1.png", "2.png"])
VERDICTS = st.sampled_from(["accepted", "rejected", None])
# Three of five are about reviews: histories of nothing but uploads have tests of their own.
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.integers(0, 3), st.sampled_from(sorted(BY_HEIGHT)), st.booleans()),
    st.tuples(st.just("touch"), NAMES, st.booleans()),
    st.tuples(st.just("review"), st.lists(NAMES, min_size=1, unique=True), VERDICTS, st.sampled_from("xy")),
    st.tuples(st.just("review"), st.lists(NAMES, min_size=1, unique=True), VERDICTS, st.just("x")),
    st.just(("run",)),
)


class History:
    """A folder of three pictures, its table, and the model of both: bytes and verdict by name."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "images"
        self.folder.mkdir()
        self.table = str(home / "t.lance")
        self.spec = job(self.folder, self.table, policy=POLICY)
        self.files: dict[str, tuple[bytes, int]] = {}
        self.held: dict[str, tuple[bytes, int]] = {}
        self.said: dict[str, str] = {}
        self.clock = 1_700_000_000
        for number in range(3):
            self.write(f"{number}.png", number, 40, run=number == 2)

    def write(self, name: str, seed: int, height: int, run: bool) -> None:
        self._put(name, picture(seed, height=height, width=80), height)
        if run:
            self.run()

    def touch(self, name: str, run: bool) -> None:
        """The same bytes under a new date."""
        self._put(name, *self.files[name])
        if run:
            self.run()

    def _put(self, name: str, data: bytes, height: int) -> None:
        self.clock += 1
        (self.folder / name).write_bytes(data)
        os.utime(self.folder / name, (self.clock, self.clock))
        self.files[name] = (data, height)

    def run(self) -> None:
        report = clipflow.run(self.spec, ray="none", progress=False).document()
        for name, held in self.files.items():
            if name in self.held and self.held[name][0] != held[0]:
                self.said.pop(name, None)
        self.held = dict(self.files)
        written = [row for row in self.rows().values() if row["run_id"] == report["run_id"]]
        for status in ("accepted", "review", "rejected"):
            assert report[status] == sum(row["status"] == status for row in written)

    def review(self, names: list[str], verdict: Verdict | None, why: str) -> None:
        before, at = self.rows(), version(self.table)
        report = review(self.table, [key(self.spec, name) for name in names], Review(verdict, "ann", why))
        now = (verdict, "ann" if verdict else None, why if verdict else None)
        changed = sum(tuple(before[name][column] for column in REVIEW_COLUMNS[:3]) != now for name in names)
        assert report.changed == changed
        assert report.version == version(self.table) == at + (changed > 0)
        for name in names:
            self.said.pop(name, None)
            if verdict is not None:
                self.said[name] = verdict
        assert report.queue == sum(row["status"] == "review" for row in self.rows().values())

    def rows(self) -> dict[str, dict[str, Any]]:
        return {Path(row["source_uri"]).name: row for row in rows(self.table).values()}

    def check(self) -> None:
        found = self.rows()
        assert found.keys() == self.held.keys()
        for name, (_, height) in self.held.items():
            row, said = found[name], self.said.get(name)
            assert row["reviewed_verdict"] == said
            assert (row["reviewed_by"] is None) == (row["reviewed_at"] is None) == (said is None)
            assert row["status"] == (said or BY_HEIGHT[height])
            assert row["reasons"] == (["small"] if height < 45 else [])


@examples(7, deep=60)
@given(st.lists(STEPS, min_size=6, max_size=12))
def test_a_verdict_lives_as_long_as_its_bytes_or_until_it_is_withdrawn(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        history = History(Path(home))
        for name, *arguments in steps:
            getattr(history, name)(*arguments)
            history.check()


def under_way(folder: Path) -> int:
    return int(lance.dataset(str(folder / "t_runs.lance")).count_rows("verb = 'review' AND state = 'running'"))


def test_a_review_killed_at_its_work_is_whole_or_not_there_and_again_finishes_it(tmp_path: Path) -> None:
    chance = chances("a review killed")
    given = assignment(tmp_path, "a")
    commit(given, staged(given, *({"key": number} for number in range(3000))))
    table, images = str(tmp_path / "t.lance"), [f"{number:032x}" for number in range(3000)]
    (tmp_path / "ids.txt").write_text("\n".join(images))
    turn = 0
    # A killed call leaves its row `running`.
    while (killed := under_way(tmp_path)) < turns(2):
        assert turn < 20 * turns(2), "too seldom at work when it was killed"
        who, turn = f"reviewer-{turn}", turn + 1
        words = ["review", table, "--reject", "--from", str(tmp_path / "ids.txt"), "--by", who, "--why", "x"]
        driver = Driver(*words)
        driver.until(lambda killed=killed: under_way(tmp_path) > killed, "it began")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.05))
        driver.kill()
        found = rows(table, ["image_id", "reviewed_by", "status"])
        assert len(found) == 3000
        assert len({(row["reviewed_by"], row["status"]) for row in found.values()}) == 1, "half a review"
        assert main(words) == 0
        assert {row["reviewed_by"] for row in rows(table).values()} == {who}
        assert review(table, images, Review("rejected", who, "x")).changed == 0
    assert_unique_ever(table)


def test_reviews_beside_a_running_job_are_not_lost_and_double_no_row(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(50))
    (tmp_path / "gate").touch()

    def spec(model: str) -> JobSpec:
        encoder = {"model": model, "loader": "stub"}
        return job(tmp_path / "images", tmp_path / "t.lance", encoder=encoder, table={"commit_rows": 5})

    (tmp_path / "job.json").write_text(spec("stub:dim=16,ms=4,gate=20").model_dump_json())
    table = str(tmp_path / "t.lance")
    clipflow.run(spec("stub:dim=16"), ray="none")
    # The same bytes under a new date: every row is written again, while a human goes through them.
    for path in (tmp_path / "images").iterdir():
        os.utime(path, (1_900_000_000, 1_900_000_000))
    draw(tmp_path / "images", range(50, 100))
    driver = Driver("run", tmp_path / "job.json", "--ray", "none", gate=tmp_path / "gate")
    said: dict[str, str] = {}
    reviews = set()
    chance = random.Random(5)
    while driver.poll() is None:
        waiting = [image for image in rows(table, ["image_id"]) if image not in said]
        images = chance.sample(waiting, min(3, len(waiting)))
        if images:
            verdict: Verdict = chance.choice(["accepted", "rejected"])
            reviews.add(review(table, images, Review(verdict, "ann", "beside a run")).version)
            said |= dict.fromkeys(images, verdict)
        # The job waits in its midst until some reviews stand beside it; the others come beside its commits.
        if len(reviews) > 5:
            (tmp_path / "gate").unlink(missing_ok=True)
    assert driver.wait() == 0, driver.log
    assert len(reviews) > 5
    found = rows(table)
    assert len(found) == 100
    for image, row in found.items():
        assert row["reviewed_verdict"] == said.get(image)
        assert row["status"] == said.get(image, "accepted")
    assert_unique_ever(table)
    again = clipflow.run(spec("stub:dim=16"), ray="none").document()
    assert (again["listed"], again["unchanged"]) == (100, 100)
