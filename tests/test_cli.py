"""The command line as its users meet it: exit codes, one JSON document, one sentence."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.cli import LATER, main
from clipflow.errors import ClipflowError
from clipflow.schema import COUNTS, VERDICTS
from clipflow_airflow.stack.ports import free_port
from tests.catalogues import STUB, draw

VERBS = (
    "run",
    "plan",
    "search",
    "sql",
    "judge",
    "review",
    "explain",
    "audit",
    "evaluate",
    "maintain",
    "doctor",
    "convert-head",
    "demo",
)
REPORT = {
    "run_id",
    "table",
    "version",
    *COUNTS,
    "repeated",
    "excluded",
    "withdrawn",
    "missing",
    "missing_images",
    "warnings",
    *VERDICTS,
    "reasons",
    "seconds",
    "images_per_second",
}
CLOCKS = {"list", "fetch", "decode", "embed", "score", "stage", "commit", "total"}
RULES = {"rules": [{"name": "too_small", "score": "min_side", "reject_below": 8}]}

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs one command in this process; gives exit code, stdout and stderr."""

    def said(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return said


class Home:
    """Four pictures, a job over them, and its table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "lake" / "catalog.lance"
        draw(folder / "images", range(4))
        (folder / "images" / "broken.png").write_bytes(b"no picture")
        self.job = self.write()

    def write(self, name: str = "job", **parts: Any) -> Path:
        whole = {
            "name": "test",
            "source": {"uri": str(self.folder / "images")},
            "encoder": STUB,
            "policy": RULES,
            "table": {"uri": str(self.table)},
        }
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(whole | parts))
        return path

    def state(self) -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in self.folder.rglob("*")
            if path.is_file() and path.suffix != ".json"
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("cli"))
    assert main(["run", str(made.job), "--ray", "none", "--json"]) == 0
    return made


def one_document(out: str) -> Any:
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1, out
    return json.loads(out)


def test_run_prints_its_report(say: Say, home: Home) -> None:
    code, out, _ = say("run", home.job, "--json")
    report = one_document(out)
    assert code == 0
    assert set(report) == REPORT
    assert set(report["seconds"]) == CLOCKS
    assert {name: report[name] for name in COUNTS} == {
        "listed": 5,
        "unchanged": 0,
        "reused": 0,
        "embedded": 4,
        "failed": 1,
        "forgotten": 0,
    }
    assert {name: report[name] for name in VERDICTS} == {"accepted": 4, "review": 0, "rejected": 0}
    assert report["reasons"] == {"not_an_image": 1}
    assert report["table"] == str(home.table)
    assert report["images_per_second"] > 0


def test_run_again_does_nothing(say: Say, home: Home) -> None:
    first = one_document(say("run", home.job, "--json")[1])
    code, out, _ = say("run", home.job, "--json")
    again = one_document(out)
    assert code == 0
    assert (again["unchanged"], again["listed"], again["version"]) == (5, 5, first["version"])


def test_run_speaks_to_people_without_json(say: Say, home: Home) -> None:
    code, out, _ = say("run", home.job, "--ray", "none", "--no-progress")
    assert code == 0
    assert "5 listed: 0 unchanged, 0 reused, 4 embedded, 1 failed, 0 forgotten" in out
    assert "verdicts: 4 accepted, 0 review, 0 rejected" in out
    assert str(home.table) in out


def test_run_takes_an_interval_and_changes(say: Say, home: Home) -> None:
    changes = ["--set", "source.window=modified", "--set", "policy.rules.too_small.reject_below=41"]
    code, out, _ = say("run", home.job, "--interval", "2001-01-01", "2001-01-02", *changes, "--json")
    assert (code, one_document(out)["listed"], one_document(out)["version"]) == (0, 0, None)
    assert not home.table.parent.exists(), "an empty listing creates nothing"
    code, out, _ = say("run", home.job, "--interval", "2001-01-01", "2101-01-01", *changes, "--json")
    assert (code, one_document(out)["rejected"]) == (0, 4)
    assert one_document(say("search", home.table, "red", "--json")[1]) == []
    assert len(one_document(say("search", home.table, "red", "--all", "--json")[1])) == 4


def test_run_that_fails_says_what_it_did(say: Say, home: Home) -> None:
    limits = [f"limits.{key}" for key in ("max_failed_share=0.1", "max_failed_from=5", "fail_on=any")]
    code, out, err = say("run", home.job, *(word for limit in limits for word in ("--set", limit)), "--json")
    document = one_document(out)
    assert code == 1
    assert set(document) == {*REPORT, "error"}
    assert (document["embedded"], document["failed"]) == (4, 1)
    assert document["error"]["class"] == "TooManyFailed"
    assert document["error"]["retryable"] is False
    assert "1 of 5 images failed (not_an_image 1)" in err
    assert "5 listed: 0 unchanged, 0 reused, 4 embedded, 1 failed, 0 forgotten" in err, "people see what it came to"
    assert clipflow.open(home.table).images.count_rows() == 5, "the others are committed"


def test_plan_says_what_is_left_and_writes_nothing(say: Say, home: Home) -> None:
    before = home.state()
    code, out, _ = say("plan", home.job, "--json")
    document = one_document(out)
    assert code == 0
    assert {"listed", "unchanged", "forgotten", "to_fetch", "bytes", "encoder"} <= set(document)
    assert (document["listed"], document["to_fetch"], document["version"]) == (5, 5, None)
    assert document["bytes"] == sum(path.stat().st_size for path in (home.folder / "images").iterdir())
    assert document["encoder"]["dim"] == 16
    assert home.state() == before


def test_plan_after_a_run_finds_nothing_to_do(say: Say, filled: Home) -> None:
    code, out, _ = say("plan", filled.job)
    assert code == 0
    assert "5 listed: 5 unchanged, 0 forgotten, 0 to fetch" in out


def test_search_by_text_and_by_picture(say: Say, filled: Home) -> None:
    code, out, _ = say("search", filled.table, "red", "-k", 2, "--json")
    hits = one_document(out)
    assert (code, len(hits)) == (0, 2)
    assert {"source_uri", "similarity", "status", "caption"} <= set(hits[0])
    picture = filled.folder / "images" / "000002.png"
    code, out, _ = say("search", filled.table, "--image", picture, "-k", 1, "--json")
    assert one_document(out)[0]["source_uri"] == f"file://{picture}"


def test_search_narrows(say: Say, filled: Home) -> None:
    assert one_document(say("search", filled.table, "red", "--where", "width > 48", "--json")[1]) == []
    assert one_document(say("search", filled.table, "red", "--version", 1, "--json")[1]) == []


def test_search_speaks_to_people(say: Say, filled: Home) -> None:
    code, out, _ = say("search", filled.table, "red")
    assert code == 0
    assert len(out.splitlines()) == 4
    assert all("accepted" in line and ".png" in line for line in out.splitlines())
    assert say("search", filled.table, "red", "--where", "width > 48")[1] == "no rows\n"


def test_sql_gives_typed_rows(say: Say, filled: Home) -> None:
    statement = "select status, count(*) as n, max(embedded_at) as last from images group by all order by all"
    code, out, _ = say("sql", filled.table, statement, "--json")
    rows = one_document(out)
    assert code == 0
    assert [(row["status"], row["n"]) for row in rows] == [("accepted", 4), ("failed", 1)]
    assert rows[0]["last"].endswith("Z")
    (vector,) = one_document(say("sql", filled.table, "select vector from images limit 1", "--json")[1])
    assert vector["vector"] is None or len(vector["vector"]) == 16
    assert one_document(say("sql", filled.table, "select 'nan'::float as x, 1/0 as y", "--json")[1]) == [
        {"x": None, "y": None}
    ]


def test_sql_speaks_to_people(say: Say, filled: Home) -> None:
    code, out, _ = say("sql", filled.table, "select status, count(*) as n from images group by all order by all")
    assert code == 0
    assert out.splitlines()[0].split() == ["status", "n"]
    assert out.splitlines()[-1].split() == ["failed", "1"]
    assert say("sql", filled.table, "select 1 where false")[1] == "no rows\n"


def test_doctor_checks_every_part(say: Say, filled: Home) -> None:
    before = filled.state()
    code, out, _ = say("doctor", filled.job, "--json")
    document = one_document(out)
    assert code == 0
    assert [check["name"] for check in document["checks"]] == ["job", "source", "encoder", "policy", "table"]
    assert all(
        set(check) == {"name", "ok", "message", "mend", "warning"} and check["ok"] for check in document["checks"]
    )
    assert filled.state() == before


def test_doctor_with_a_bad_part_ends_as_the_run_would(say: Say, filled: Home) -> None:
    code, out, _ = say("doctor", filled.job, "--set", "encoder.model=demmo", "--set", "encoder.loader=", "--json")
    document = one_document(out)
    assert code == 2
    assert [check["name"] for check in document["checks"] if not check["ok"]] == ["encoder"]
    assert document["error"]["class"] == "EncoderError"
    code, out, _ = say("doctor", filled.job, "--set", "table.uri=t")
    assert code == 2
    assert [line for line in out.splitlines() if line.startswith("BAD")] != []


WRONG_CALLS: dict[str, tuple[list[str], str]] = {
    "no verb": ([], "arguments are required: VERB"),
    "wrong verb": (["runn", "{job}"], "'runn' is no verb. Did you mean 'run'?"),
    "verb like no other": (["qqq"], "'qqq' is no verb. See `clipflow --help`."),
    "verb last": (["job.yaml", "run"], "The verb comes first, as in `clipflow run job.yaml`."),
    "table first": (["a.lance", "search", "red"], "The verb comes first, as in `clipflow search a.lance`."),
    "a table for a job": (["run", "{table}"], "{table} is a table, not a job file."),
    "a folder for a table": (
        ["sql", "{folder}/lake", "select 1"],
        "It is a folder, and holds {folder}/lake/catalog.lance.",
    ),
    "a job for a table": (["judge", "{job}", "--policy", "{job}"], "is no table; it may be a job."),
    "a password in a table's name": (["sql", "s3://me:pw@b/t.lance", "select 1"], "carries a user or a password"),
    "a text behind --columns": (["search", "{table}", "--columns", "width", "red"], "TEXT (before --columns)"),
    "no job": (["run"], "arguments are required: JOB"),
    "wrong option": (["run", "{job}", "--fast"], "--fast"),
    "too many": (["plan", "{job}", "{job}"], "Unrecognized arguments"),
    "half an interval": (["run", "{job}", "--interval", "2026-01-01"], "--interval: expected 2 arguments"),
    "k is no number": (["search", "{table}", "red", "-k", "few"], "invalid int value: 'few'"),
    "no statement": (["sql", "{table}"], "arguments are required: SQL"),
    "no job file": (["run", "{folder}/none.yaml"], "There is no job file {folder}/none.yaml."),
    "job file is a folder": (["run", "{folder}"], "cannot be read"),
    "no variable": (["run", "env:NO_SUCH_JOB"], "NO_SUCH_JOB"),
    "unknown key": (["run", "{job}", "--set", "table.commit_row=5"], "Did you mean 'commit_rows'?"),
    "no folder of images": (
        ["run", "{job}", "--set", "source.uri=/nowhere/images"],
        "'/nowhere/images' does not exist",
    ),
    "no manifest": (["run", "{job}", "--set", "source={{kind: manifest, uri: /nowhere/a.csv}}"], "/nowhere/a.csv"),
    "unknown scheme": (["run", "{job}", "--set", "source.uri=ftp://host/a"], "'ftp'"),
    "unknown model": (["run", "{job}", "--set", "encoder={{model: demmo}}"], "Did you mean 'demo'?"),
    "model of the hub": (["run", "{job}", "--set", "encoder={{model: no/such}}"], "no/such is not in the local cache"),
    "unknown loader": (["run", "{job}", "--set", "encoder.loader=none"], "There is no loader 'none'"),
    "another encoder": (["run", "{job}", "--set", "encoder.model=stub:dim=8"], "holds vectors of stub:dim=16"),
    "another vector": (["run", "{job}", "--set", "table.vector=float32"], "Set table.vector as the table has it."),
    "another policy": (
        ["run", "{job}", "--set", "policy.rules.too_small.reject_below=9"],
        "clipflow judge --policy FILE",
    ),
    "unknown score": (["run", "{job}", "--set", "policy.rules.too_small.score=blurr"], "Did you mean 'blur'?"),
    "later key": (["run", "{job}", "--set", "source.allow_private=true"], "comes with a later version"),
    "end before start": (["run", "{job}", "--interval", "2026-01-02", "2026-01-01"], "CronDataIntervalTimetable"),
    "no time": (["plan", "{job}", "--interval", "soon", "2026-01-01"], "'soon', is not an ISO 8601 time"),
    "path without interval": (["run", "{job}", "--set", "source.window=path"], "no interval is given"),
    "table without suffix": (["run", "{job}", "--set", "table.uri={folder}/new"], "Name it {folder}/new.lance."),
    "table elsewhere": (["run", "{job}", "--set", "table.uri=gs://lake/t.lance"], "not supported"),
    "search no table": (["search", "{folder}/none.lance", "red"], "There is no table {folder}/none.lance."),
    "search for nothing": (["search", "{table}"], "needs a text, an image"),
    "search no column": (["search", "{table}", "red", "--where", "colour = 1"], "'colour = 1' cannot be used"),
    "search no version": (["search", "{table}", "red", "--version", "99"], "has no version 99"),
    "search runs": (["search", "{folder}/lake/catalog_runs.lance", "red"], "holds no vectors of clipflow"),
    "sql no table": (["sql", "{folder}/none.lance", "select 1"], "There is no table"),
    "sql no select": (["sql", "{table}", "drop view images"], "Only one SELECT"),
    "review no table": (["review", "{folder}/none.lance", "--list"], "There is no table"),
    "review runs": (["review", "{folder}/lake/catalog_runs.lance", "--list"], "holds no images of clipflow"),
    "review no image": (["review", "{table}", "--accept", "00000000", "--by", "a", "--why", "b"], "has no row of"),
    "review by nobody": (["review", "{table}", "--accept", "00000000", "--why", "b"], "Give --by."),
    "explain no table": (["explain", "{folder}/none.lance", "00000000"], "There is no table"),
    "explain no image": (["explain", "{table}", "{folder}/none.png"], "has no row of"),
    "demo in a full folder": (["demo", "--folder", "{folder}"], "no demo made it"),
    **{f"later verb {verb}": ([verb, "{table}"], "comes with a later version") for verb in LATER},
    "judge by no file": (["judge", "{table}", "--policy", "{folder}/none.yaml"], "There is no policy file"),
    "judge without a policy": (["judge", "{table}"], "required: --policy"),
    "later verb, options first": (["browse", "--port", "1", "{table}"], "comes with a later version"),
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_a_wrong_call_is_one_sentence_and_writes_nothing(say: Say, filled: Home, call: str) -> None:
    places = {"job": filled.job, "folder": filled.folder, "table": filled.table}
    pattern, words = WRONG_CALLS[call]
    command = [word.format(**places) for word in pattern]
    before = filled.state()
    code, out, err = say(*command)
    assert (code, out) == (2, "")
    assert words.format(**places) in err
    assert err.startswith("clipflow: ")
    assert len(err.splitlines()) == 1
    code, out, err = say(*command, "--json")
    document = one_document(out)
    assert code == 2
    assert set(document) == {"error"}
    assert set(document["error"]) == {"class", "message", "mend", "retryable"}
    assert document["error"]["retryable"] is False
    assert err == f"clipflow: {document['error']['message']} {document['error']['mend']}".strip() + "\n"
    assert filled.state() == before


def test_the_classes_in_documents_are_classes_of_ours(say: Say, filled: Home) -> None:
    import clipflow.errors

    for words in (["run", "none.yaml"], ["search", filled.table], ["judge", filled.table], ["qqq"]):
        name = one_document(say(*words, "--json")[1])["error"]["class"]
        assert issubclass(getattr(clipflow.errors, name), ClipflowError)


def test_storage_that_does_not_answer_can_be_tried_again(say: Say, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-shown")
    before = home.state()
    code, out, err = say("run", home.job, "--set", "source.uri=s3://bucket/images/", "--json")
    error = one_document(out)["error"]
    assert (code, error["class"], error["retryable"]) == (1, "StorageUnavailable", True)
    assert "not-shown" not in out + err
    assert home.state() == before


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: clipflow {verb}")
    assert "--json" in text


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for verb in (*VERBS, *LATER):
        assert re.search(rf"^    {verb}\s", text, re.MULTILINE)
    assert " ".join(text.split()).count("comes with a later version") == len(LATER)


def test_the_help_of_run_is_enough_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for word in (
        "name:",
        "source:",
        "encoder:",
        "policy:",
        "table:",
        "demo",
        "--interval START END",
        "--set",
        "--ray",
        "--json",
        "AWS_",
        "run it again",
        "exit codes",
        "examples:",
    ):
        assert word in text, word


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"clipflow {clipflow.__version__}\n")


def shell(*words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipflow", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **how)


def test_logs_and_progress_stay_out_of_stdout(home: Home) -> None:
    done = shell("run", home.job, "--json", "--progress")
    assert done.returncode == 0, done.stderr
    assert one_document(done.stdout)["embedded"] == 4
    for step in ("list:", "subtract:", "engine:", "commit:"):
        assert step in done.stderr


def test_a_job_comes_through_a_pipe(filled: Home) -> None:
    done = shell("plan", "-", "--json", input=filled.job.read_text())
    assert done.returncode == 0, done.stderr
    assert one_document(done.stdout)["unchanged"] == 5


def test_a_wrong_call_of_the_process_ends_with_2(tmp_path: Path) -> None:
    done = shell("run", "none.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert one_document(done.stdout)["error"]["class"] == "JobFileError"
    assert done.stderr == "clipflow: There is no job file none.yaml. Check the path.\n"


def test_a_reader_that_goes_away_causes_no_traceback(filled: Home) -> None:
    command = [sys.executable, "-m", "clipflow", "sql", str(filled.table), "select * from images", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert said == ""
