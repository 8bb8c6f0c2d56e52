"""A model that lies on S3 is the model that lies in a folder, and is fetched once."""

from pathlib import Path

import numpy as np
import pytest

import clipflow
from clipflow.encoders import describe, encoder_spec, load_encoder
from clipflow.errors import EncoderError, StorageUnavailable
from clipflow.query.search import search
from clipflow.spec import EncoderSpec
from tests.catalogues import draw, job
from tests.s3 import READER, S3Server
from tests.tiny_models import tiny_clip


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    s3.use(monkeypatch, XDG_CACHE_HOME=str(tmp_path / "cache"))
    return s3


def upload(store: S3Server, folder: Path, prefix: str) -> str:
    for path in folder.iterdir():
        store.put(f"{prefix}/{path.name}", path.read_bytes())
    store.put(f"{prefix}/onnx/model.onnx", b"not wanted")
    store.put(f"{prefix}/notes.bin", b"not wanted either")
    return f"s3://open/{prefix}/"


def copies(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache" / "clipflow" / "models").rglob("*") if path.is_file())


def test_it_is_the_encoder_of_the_same_folder(store: S3Server, tmp_path: Path) -> None:
    local = tiny_clip(tmp_path / "model")
    there = upload(store, local, "models/tiny")
    info = describe(there)
    assert info.encoder_id == describe(str(local)).encoder_id
    assert encoder_spec(info).model == there
    assert {path.name for path in copies(tmp_path)}.isdisjoint({"model.onnx", "notes.bin"})
    draw(tmp_path / "images", range(3))
    clipflow.run(job(tmp_path / "images", tmp_path / "t.lance", encoder={"model": there}), ray="none")
    assert len(search(str(tmp_path / "t.lance"), "a red square")) == 3


def test_it_is_fetched_once_and_again_when_it_changed(store: S3Server, tmp_path: Path) -> None:
    there = upload(store, tiny_clip(tmp_path / "model"), "models/twice")
    first = describe(there)
    once = {path: path.stat().st_ino for path in copies(tmp_path)}
    assert len(once) > 3
    texts = load_encoder(there, precision="fp32").encode_texts(["a red square"])
    # With and without the slash at its end it is one folder.
    assert describe(there.rstrip("/")).encoder_id == first.encoder_id
    assert {path: path.stat().st_ino for path in copies(tmp_path)} == once
    upload(store, tiny_clip(tmp_path / "model", seed=1), "models/twice")
    assert describe(there).encoder_id != first.encoder_id
    assert not np.allclose(load_encoder(there, precision="fp32").encode_texts(["a red square"]), texts, atol=1e-3)


def test_what_cannot_be_had_is_one_sentence(store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = upload(store, tiny_clip(tmp_path / "model"), "models/refused")
    with pytest.raises(EncoderError, match="no files under s3://open/models/none/"):
        describe("s3://open/models/none")
    with pytest.raises(EncoderError, match="have no revisions"):
        describe(EncoderSpec(model=there, revision="main"))
    with pytest.raises(EncoderError, match="carries a user or a password") as caught:
        describe("s3://me:secret-word@open/models/refused")
    assert "secret-word" not in str(caught.value)
    store.use(monkeypatch, READER, XDG_CACHE_HOME=str(tmp_path / "cache"))
    with pytest.raises(EncoderError, match=r"refused|does not exist"):
        describe("s3://closed/models/refused")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable):
        describe(there)


def test_code_that_lies_on_s3_never_runs(store: S3Server) -> None:
    store.put("models/code/config.json", b'{"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}')
    store.put("models/code/own.py", b"raise SystemExit")
    with pytest.raises(EncoderError, match="what lies on S3 can change"):
        describe(EncoderSpec(model="s3://open/models/code", trust_remote_code=True))
