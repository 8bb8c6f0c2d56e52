"""Files that users name: on a disk and on S3 alike, and never a credential in what is said of them."""

import json
from pathlib import Path

import pytest
import yaml

import clipflow
from clipflow.cli import main
from clipflow.errors import ClipflowError, JobFileError, StorageUnavailable, UsageError
from clipflow.files import beside, read_file, write_file
from clipflow.jobfile import read_job, read_policy
from tests.catalogues import STUB, draw
from tests.s3 import READER, S3Server

RULES = {"purpose": "the shop", "rules": [{"name": "small", "score": "min_side", "reject_below": 42}]}


def body(folder: Path, policy: object) -> dict[str, object]:
    table = {"uri": str(folder / "catalog.lance")}
    return {"name": "n", "source": {"uri": str(folder / "images")}, "encoder": STUB, "policy": policy, "table": table}


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


@pytest.mark.parametrize(
    ("file", "name", "meant"),
    [
        ("jobs/job.yaml", "shop.yaml", "jobs/shop.yaml"),
        ("jobs/job.yaml", "../shop.yaml", "jobs/../shop.yaml"),
        ("jobs/job.yaml", "/etc/shop.yaml", "/etc/shop.yaml"),
        ("jobs/job.yaml", "s3://b/shop.yaml", "s3://b/shop.yaml"),
        ("s3://b/jobs/job.yaml", "shop.yaml", "s3://b/jobs/shop.yaml"),
        ("s3://b/jobs/job.yaml", "../p/shop.yaml", "s3://b/p/shop.yaml"),
        ("s3://b/job.yaml", "p/shop.yaml", "s3://b/p/shop.yaml"),
        ("", "shop.yaml", "shop.yaml"),
    ],
)
def test_a_file_means_its_neighbours(file: str, name: str, meant: str) -> None:
    assert beside(file, name) == meant


def test_what_is_written_is_read_again(store: S3Server, tmp_path: Path) -> None:
    for name in (str(tmp_path / "a page.html"), "s3://open/files/a page?.html", (tmp_path / "b.html").as_uri()):
        write_file(name, b"<p>one", "page")
        write_file(name, b"<p>two", "page")
        assert read_file(name, "page") == b"<p>two"
    head = store.client.head_object(Bucket="open", Key="files/a page?.html")
    assert head["ContentType"] == "text/html; charset=utf-8"


def test_what_is_not_there_or_not_allowed_is_one_sentence(
    store: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.use(monkeypatch, READER)
    for name, said in [
        ("s3://open/none.yaml", "does not exist"),
        ("s3://nowhere-at-all/none.yaml", "does not exist|refused"),
        ("s3://open", "is no file"),
        ("s3://me:secret-word@open/a.yaml", "carries a user or a password"),
        ("https://me:secret-word@host/a.yaml", "carries a user or a password"),
        ("https://host/a.yaml?sig=secret-word", "is no file"),
        ("ftp://me:secret-word@host/a.yaml", "not supported"),
        (str(tmp_path / "none.yaml"), "There is no job file"),
        (str(tmp_path), "cannot be read"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(JobFileError, match=said) as caught:
            read_job(name)
        assert "secret-word" not in str(caught.value)
        assert READER[1] not in str(caught.value)
    with pytest.raises(UsageError, match="refused") as refused:
        write_file("s3://open/page.html", b"x", "page")
    assert READER[1] not in str(refused.value)
    with pytest.raises(UsageError, match="cannot be written"):
        write_file(str(tmp_path / "none" / "page.html"), b"x", "page")


def test_a_store_that_does_not_answer_is_worth_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-word")
    with pytest.raises(StorageUnavailable) as caught:
        read_job("s3://open/job.yaml")
    assert caught.value.retryable
    assert "secret-word" not in str(caught.value)


def test_a_job_carries_the_policy_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text(yaml.safe_dump(body(tmp_path, "shop.yaml")))
    (tmp_path / "jobs" / "shop.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(body(tmp_path, RULES)))
    spec, whole = read_job(tmp_path / "jobs" / "job.yaml"), read_job(tmp_path / "whole.yaml")
    assert spec == whole
    assert spec.fingerprint == whole.fingerprint
    assert read_policy(tmp_path / "jobs" / "job.yaml") == read_policy(tmp_path / "jobs" / "shop.yaml") == spec.policy
    monkeypatch.chdir(tmp_path)
    sets = ["policy.rules.small.reject_below=9", "policy.owner=me"]
    changed = read_job("jobs/job.yaml", sets).policy
    assert (changed.rules[0].reject_below, changed.owner) == (9, "me")
    (tmp_path / "jobs" / "other.yaml").write_text("rules: []")
    assert read_job("jobs/job.yaml", ["policy=other.yaml"]).policy.rules == ()
    # Text without a file of its own: the working directory.
    monkeypatch.setenv("JOB", json.dumps(body(tmp_path, "jobs/shop.yaml")))
    assert read_job("env:JOB") == spec


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"job.yaml": body(Path("x"), "shop.yaml")}, r"There is no policy file .*shop\.yaml"),
        (
            {"job.yaml": body(Path("x"), "shop.yaml"), "shop.yaml": {"rules": [{"name": "a", "scor": "blur"}]}},
            r"shop\.yaml, line 3: policy\.rules\[0\]\.scor is not a key.*'score'",
        ),
        ({"job.yaml": body(Path("x"), "job.yaml")}, "names, and so on"),
        ({"job.yaml": body(Path("x"), "./././job.yaml")}, "names, and so on"),
        ({"job.yaml": body(Path("x"), "rules:\n- a\n")}, "is no file's name"),
        ({"job.yaml": body(Path("x"), "env:HOME")}, "is no file's name"),
        ({"job.yaml": body(Path("x"), "s3://me:secret-word@b/p.yaml")}, "carries a user or a password"),
        ({"job.yaml": body(Path("x"), "https://h/p.yaml")}, "is no file"),
    ],
)
def test_a_policy_s_name_that_leads_nowhere(tmp_path: Path, files: dict[str, object], said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content, sort_keys=False))
    for read in (read_job, read_policy):
        with pytest.raises(JobFileError, match=said) as caught:
            read(tmp_path / "job.yaml")
        assert "secret-word" not in str(caught.value)


def test_a_job_without_a_policy_is_not_taken_for_one_that_accepts_all(tmp_path: Path) -> None:
    whole = body(tmp_path, RULES)
    whole["polcy"] = whole.pop("policy")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(JobFileError, match=r"is a job without `policy:`\. Did you mean that by 'polcy'"):
        read_policy(tmp_path / "job.yaml")


def test_job_policy_and_pages_may_lie_on_s3(
    store: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "images", range(3))
    table = str(tmp_path / "catalog.lance")
    job = store.put("conf/job.yaml", yaml.safe_dump(body(tmp_path, "policies/shop.yaml")).encode())
    shop = store.put("conf/policies/shop.yaml", yaml.safe_dump(RULES).encode())

    def said(*words: str) -> dict[str, object]:
        capsys.readouterr()
        code = main([*words, "--json"])
        out = json.loads(capsys.readouterr().out)
        assert code == 0, out
        assert isinstance(out, dict)
        return out

    assert said("run", job, "--ray", "none")["rejected"] == 3
    for policy in (job, shop):
        assert said("judge", table, "--policy", policy)["changed"] == 0
        assert said("audit", table, "--against", policy)["against"] is not None
    said("audit", table, "--html", "s3://open/pages/audit.html")
    said("explain", table, next(iter(clipflow.open(table).sql("select image_id from images")))["image_id"],
         "--html", "s3://open/pages/one.html")  # fmt: skip
    for name in ("audit", "one"):
        assert read_file(f"s3://open/pages/{name}.html", "page").startswith(b"<!doctype html>")


def test_every_error_is_ours(store: S3Server) -> None:
    store.put("conf/latin.yaml", "name: café".encode("latin-1"))
    with pytest.raises(ClipflowError, match="UTF-8"):
        read_job("s3://open/conf/latin.yaml")
