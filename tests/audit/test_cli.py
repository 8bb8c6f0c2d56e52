"""Both verbs as their users meet them, over a table that a real run filled from a manifest."""

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.cli import main
from tests.catalogues import job, picture

KEYS = {"column", "value", "rule", "n", "removed", "rate", "low", "high", "ratio", "flagged"}
KEYS |= {"review", "not_shown", *(f"not_shown_{key}" for key in ("rate", "low", "high", "ratio", "flagged"))}
POLICY = {
    "purpose": "Tests",
    "rules": [
        {"name": "mismatch", "score": "caption", "review_below": 0.0},
        {"name": "small", "score": "min_side", "reject_below": 30},
    ],
}


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pictures: of 40 "de" 20 are too small, of 40 "en" 2; one more is broken."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "images").mkdir()
    lines = []
    for at in range(80):
        small = at < 20 or 40 <= at < 42
        (folder / "images" / f"{at}.png").write_bytes(picture(at, width=20 if small else 48))
        lines.append({"uri": f"images/{at}.png", "caption": "a red bag", "locale": "de" if at < 40 else "en"})
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    lines.append({"uri": "images/broken.png", "caption": "", "locale": "de"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    source = {"kind": "manifest", "uri": str(folder / "manifest.csv"), "caption": "caption", "attributes": ["locale"]}
    clipflow.run(job(folder, folder / "lake" / "catalog.lance", source=source, policy=POLICY), ray="none")
    labels = "\n".join([f"images/{at}.png,{'reject' if at % 2 else 'accept'}" for at in range(60)])
    (folder / "labels.csv").write_text(f"uri,verdict\n{labels}\n")
    return folder


def say(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def state(home: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in (home / "lake").rglob("*")
        if path.is_file()
    }


def test_removal_by_group_is_one_command_and_only_reads(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(home)
    code, out, _ = say(capsys, "audit", home / "lake" / "catalog.lance", "--by", "locale", "--json")
    document: dict[str, Any] = json.loads(out)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert all(set(group) == KEYS for group in document["groups"])
    found = {(group["value"], group["rule"]): (group["n"], group["removed"]) for group in document["groups"]}
    assert (found["de", "*"], found["en", "*"]) == ((40, 20), (40, 2))
    assert (found["de", "small"], found["en", "mismatch"]) == ((40, 20), (40, 0))
    assert [group["flagged"] for group in document["groups"] if group["rule"] == "*"] == [True, True]
    assert (document["rows"], document["failed"], document["failures"]) == (81, 1, {"not_an_image": 1})
    assert document["policy"]["purpose"] == "Tests"
    (window,) = document["windows"]
    assert (window["job"], window["rows"], window["runs"], window["unbounded"]) == ("test", 81, 1, 1)
    code, out, _ = say(capsys, "audit", home / "lake" / "catalog.lance", "--by", "attr_locale", "--by", "media_type")
    assert code == 0
    assert "50.0 % (35.2 to 64.8)  x1.82 !" in " ".join(out.split(" "))
    assert state(home) == before


def test_a_condition_that_holds_is_exit_one_with_the_report(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", home / "lake" / "catalog.lance", "--by", "locale", "--html", home / "a.html", "--fail-if"]
    code, out, err = say(capsys, *words, "max(ratio) > 1.5", "--json")
    document = json.loads(out)
    assert code == 1
    assert document["error"]["class"] == "AuditFailed"
    assert document["error"]["retryable"] is False
    assert document["fail_if"] == {"expression": "max(ratio) > 1.5", "holds": True}
    assert len(document["groups"]) == 6
    assert len(err.splitlines()) == 1
    assert "the audit fails" in (home / "a.html").read_text("utf-8")
    code, out, err = say(capsys, *words, "max(ratio) > 15")
    assert code == 0
    assert "does not hold" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "local"], "no column 'local' to group by. Did you mean 'locale'?"),
        (["--by", "vector"], "which makes no groups"),
        (["--by", "reasons"], "which makes no groups"),
        (["--by", "blur"], "which makes no groups"),
        (["--min-group", "0"], "--min-group is 0; it must be 1 or more"),
        (["--bounds", "1.1", "1.2"], "1 must lie between them"),
        (["--against", "0000"], "has no run '0000'"),
        (["--fail-if", "nope"], "refuses --fail-if"),
        (["--html", "{home}/none/a.html"], "cannot be written"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    code, out, err = say(capsys, "audit", home / "lake" / "catalog.lance", *(word.format(home=home) for word in words))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_labels_on_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(home)
    words = ["evaluate", home / "lake" / "catalog.lance", "--labels", home / "labels.csv", "--by", "locale"]
    code, out, _ = say(capsys, *words, "--max-false-reject", "0.1", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["labels"], document["matched"], document["unmatched"]) == (60, 60, 0)
    (small,) = [rule for rule in document["rules"] if rule["rule"] == "small"]
    assert {cell: small["reject"][cell] for cell in ("tp", "fp", "fn", "tn")} == {
        "tp": 11,
        "fp": 11,
        "fn": 19,
        "tn": 19,
    }
    (kept,) = small["thresholds"]
    assert kept["threshold"] == 20.0
    assert (kept["false_rejects"]["k"], kept["moved"]) == (0, 22)
    code, out, _ = say(capsys, *words)
    assert code == 0
    assert "false rejects: 11 of 30, 36.7 % (21.9 to 54.5) that people accepted" in out
    assert state(home) == before
    code, out, err = say(capsys, "evaluate", home / "lake" / "catalog.lance")
    assert (code, out) == (2, "")
    assert "--labels" in err
