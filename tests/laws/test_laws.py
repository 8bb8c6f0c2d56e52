"""Laws 1 to 4, 7 and 8 over random histories: uploads, changes, copies, losses, and runs in between."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import clipflow
from clipflow.errors import TooManyFailed
from clipflow.schema import COUNTS
from clipflow.uri import canonical, image_id
from tests.catalogues import job, picture, rows
from tests.examples import examples

BROKEN = {b"": "empty", b"no picture": "not_an_image", picture(0)[:200]: "truncated"}
names = st.integers(0, 11)
seeds = st.integers(1, 9)


class History(RuleBasedStateMachine):
    """A folder, its table, and the model of both: bytes by name, and the run that saw them first."""

    @initialize(commit_rows=st.sampled_from([1, 3, 1000]))
    def begin(self, commit_rows: int) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.folder, self.table = self.home / "images", self.home / "t.lance"
        self.folder.mkdir()
        self.files: dict[str, bytes] = {}
        self.seen: dict[str, tuple[bytes, int]] = {}
        self.clock = 1_700_000_000
        policy = {"rules": [{"name": "small", "score": "min_side", "reject_below": 45}]}
        self.spec = job(
            self.folder, self.table, policy=policy, table={"commit_rows": commit_rows}, limits={"max_failed_share": 1}
        )
        self.reports: dict[str, Any] = {}

    def teardown(self) -> None:
        if hasattr(self, "home"):
            shutil.rmtree(self.home)

    def write(self, name: str, data: bytes) -> None:
        self.clock += 1
        path = self.folder / name
        path.write_bytes(data)
        os.utime(path, (self.clock, self.clock))
        self.files[name] = data

    @rule(name=names, seed=seeds, tall=st.booleans())
    def upload(self, name: int, seed: int, tall: bool) -> None:
        self.write(f"{name}.png", picture(seed, height=60 if tall else 40))

    @rule(name=names, data=st.sampled_from(sorted(BROKEN)))
    def upload_broken(self, name: int, data: bytes) -> None:
        self.write(f"{name}.png", data)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        self.write(name, self.files[name])

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def take_away(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.folder / name).unlink()
        del self.files[name]

    @rule()
    def run(self) -> None:
        known = set(self.embedded_contents())
        changed = {n: d for n, d in self.files.items() if self.seen.get(n) != (d, self.modified(n))}
        report = clipflow.run(self.spec, ray="none", progress=False).document()
        if report["version"] is not None:
            self.reports[report["run_id"]] = report
        fresh = {n: d for n, d in changed.items() if d not in BROKEN}
        assert report["listed"] == len(self.files)
        assert report["listed"] == sum(report[name] for name in COUNTS[1:])
        assert report["unchanged"] == len(self.files) - len(changed)
        assert report["failed"] == len(changed) - len(fresh)
        assert report["accepted"] + report["review"] + report["rejected"] == report["embedded"] + report["reused"]
        # Bytes that a commit held are never embedded again; equal new bytes of one run may be.
        certain = sum(hashlib.sha256(d).hexdigest() in known for d in fresh.values())
        assert report["reused"] >= certain
        self.seen |= {n: (d, self.modified(n)) for n, d in self.files.items()}
        again = clipflow.run(self.spec, ray="none", progress=False).document()
        assert again["version"] == report["version"]
        assert again["unchanged"] == again["listed"] == report["listed"]

    def modified(self, name: str) -> int:
        return (self.folder / name).stat().st_mtime_ns

    def embedded_contents(self) -> list[str]:
        if not self.table.exists():
            return []
        return [row["content_sha256"] for row in rows(self.table).values() if row["status"] != "failed"]

    @invariant()
    def table_tells_the_truth(self) -> None:
        if not hasattr(self, "seen") or not self.table.exists():
            return
        found = rows(self.table)
        expected = {image_id(canonical(self.folder / name)): (name, data) for name, (data, _) in self.seen.items()}
        assert found.keys() == expected.keys()
        for key, row in found.items():
            name, data = expected[key]
            assert row["source_uri"] == canonical(self.folder / name)
            assert row["content_sha256"] == hashlib.sha256(data).hexdigest() or data == b""
            assert row["run_id"] in self.reports
            if data in BROKEN:
                assert (row["status"], row["reasons"], row["vector"]) == ("failed", [BROKEN[data]], None)
            else:
                tall = row["height"] == 60
                assert row["status"] == ("accepted" if tall else "rejected")
                assert row["reasons"] == ([] if tall else ["small"])
                assert len(row["vector"]) == 16


History.TestCase.settings = settings(examples(12, deep=60), stateful_step_count=14)
TestHistory = History.TestCase


def test_too_many_failures_end_the_run_after_the_commit(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(picture(1))
    for name in "bcd":
        (tmp_path / f"images/{name}.png").write_bytes(b"no picture")
    limits = {"max_failed_from": 4, "fail_on": "any"}
    with pytest.raises(TooManyFailed) as caught:
        clipflow.run(job(tmp_path / "images", tmp_path / "t.lance", limits=limits), ray="none")
    assert not caught.value.retryable
    assert caught.value.report is not None
    assert (caught.value.report["failed"], caught.value.report["embedded"]) == (3, 1)
    assert len(rows(tmp_path / "t.lance")) == 4
