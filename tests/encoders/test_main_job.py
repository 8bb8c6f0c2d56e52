"""Every family that transformers serves through the main job: the table's vectors and scores are the library's own."""

import json
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import lance
import numpy as np
import numpy.typing as npt
import pytest

import clipflow
from clipflow.encoders import describe, text_encoder
from clipflow.encoders.families import FAMILIES
from clipflow.errors import EncoderError, PolicyError
from clipflow.policy.scorers.zero_shot import ZeroShot
from clipflow.spec import JobSpec
from tests.families import ALL, Families, awkward_files, awkward_pictures
from tests.library import Library
from tests.tiny_models import CAPTIONS

pytestmark = pytest.mark.xdist_group("families")

Vectors = npt.NDArray[np.float64]
READING = sorted(kind for kind in ALL if FAMILIES[kind].has_text)
LABELS = {
    "plain": CAPTIONS[0],
    "capitals": "A Photo With CAPITALS",
    "long": "word " * 2000,
    "emoji": "😀 a cat 😀",
    "cjk": "照片 猫",
    "combining": "e\u0301te\u0301",
    "marks": "a\u0300\u0301\u0302\u0303 cup",
    "space": " a cup ",
}
KEYS = sorted(LABELS)
RULE = {
    "name": "topic",
    "score": "zero_shot",
    "labels": LABELS,
    "label": "plain",
    "none": "space",
    "keep": KEYS,
    "review_above": 2.0,
}


class Filled(NamedTuple):
    """A table that the main job made."""

    kind: str
    folder: Path
    uri: str
    spec: JobSpec
    rows: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    for name, data in awkward_files().items():
        (folder / name).write_bytes(data)
    return folder


def _job(model: Path, source: dict[str, Any], table: Path, rules: list[dict[str, Any]]) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "parity",
            "source": source,
            "encoder": {"model": str(model), "precision": "fp32"},
            "policy": {"rules": rules},
            "table": {"uri": str(table), "vector": "float32"},
        }
    )


def _rows(table: Path) -> dict[str, dict[str, Any]]:
    """By the name of the file."""
    return {Path(row["source_uri"]).name: row for row in lance.dataset(str(table)).to_table().to_pylist()}


@pytest.fixture(scope="module", params=sorted(ALL))
def filled(
    request: pytest.FixtureRequest, families: Families, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> Filled:
    home = tmp_path_factory.mktemp(request.param)
    folder = families.folder(request.param)
    rules = [RULE] if FAMILIES[request.param].has_text else []
    spec = _job(folder, {"uri": str(catalogue)}, home / "t.lance", rules)
    report = clipflow.run(spec, ray="none").document()
    assert (report["embedded"], report["failed"]) == (len(awkward_files()), 0)
    return Filled(request.param, folder, str(home / "t.lance"), spec, _rows(home / "t.lance"))


@pytest.fixture(scope="module")
def library(filled: Filled, families: Families) -> Library:
    return families.library(filled.kind)


@pytest.fixture(scope="module")
def reference(filled: Filled, families: Families) -> Vectors:
    """The library's vectors of all pictures, float64 [N, dim]."""
    return families.vectors(filled.kind).astype(np.float64)


def _vectors(filled: Filled) -> Vectors:
    return np.array([filled.rows[name]["vector"] for name in awkward_files()], np.float64)


def _allowed(ours: Vectors, theirs: Vectors) -> Vectors:
    """What the cosine to a third vector may differ by, [N, 1]: no more than the two vectors do, and rounding."""
    apart: Vectors = np.linalg.norm(ours - theirs, axis=1, keepdims=True)
    # Where no pixel differs by a grey level the vectors are equal, and the comparison is a sharp one.
    assert (apart < 2e-6).sum() >= 5
    return apart + 3e-6


def test_every_row_has_the_vector_of_the_library(filled: Filled, reference: Vectors) -> None:
    cosines = dict(zip(awkward_files(), (_vectors(filled) * reference).sum(axis=1), strict=True))
    assert filled.rows.keys() == cosines.keys()
    assert {name: cosine for name, cosine in cosines.items() if not cosine >= 0.99999} == {}


def test_every_probability_is_the_library_s(filled: Filled, library: Library, reference: Vectors) -> None:
    if not FAMILIES[filled.kind].has_text:
        with pytest.raises(PolicyError, match="no text tower"):
            clipflow.run(_with_rules(filled.spec, [RULE]), ray="none")
        return
    logits = library.logits(list(awkward_pictures().values()), _as_labels(KEYS))
    softmax = FAMILIES[filled.kind].score == "softmax"
    # As the models' own pages have it.
    theirs = (logits.softmax(dim=1) if softmax else logits.sigmoid()).double().numpy()
    ours = np.array([[filled.rows[name][f"score_topic__{key}"] for key in KEYS] for name in awkward_files()])
    # In logarithms: a sigmoid moves no further than its logit, a softmax no further than twice that.
    allowed = 2 * np.exp(library.model.logit_scale.item()) * _allowed(_vectors(filled), reference)
    assert (np.abs(np.log(ours) - np.log(theirs)) <= allowed).all()
    assert [row["score_topic"] for row in filled.rows.values()] == [
        row["score_topic__plain"] for row in filled.rows.values()
    ]


def test_every_logit_is_the_library_s(filled: Filled, library: Library, reference: Vectors) -> None:
    if not FAMILIES[filled.kind].has_text:
        assert describe(filled.spec.encoder).logit_scale is None
        return
    info = describe(filled.spec.encoder)
    labels = ZeroShot().prepare(filled.spec.policy.rules[0], info, text_encoder(filled.spec.encoder, info))
    ours = labels.scale * (_vectors(filled) @ labels.vectors.T) + labels.bias
    theirs = library.logits(list(awkward_pictures().values()), _as_labels(KEYS)).double().numpy()
    assert (np.abs(ours - theirs) <= labels.scale * _allowed(_vectors(filled), reference)).all()


@pytest.mark.parametrize("filled", READING, indirect=True)
def test_captions_are_scored_as_the_library_would(filled: Filled, library: Library, tmp_path: Path) -> None:
    texts = [*LABELS.values(), ""]
    names = list(awkward_files())[: len(texts)]
    lines = [{"uri": filled.rows[name]["source_uri"], "text": text} for name, text in zip(names, texts, strict=True)]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    source = {"kind": "manifest", "uri": str(tmp_path / "m.jsonl"), "caption": "text"}
    rules = [{"name": "fit", "score": "caption"}, {"name": "quality", "score": "clip_score"}]
    clipflow.run(_job(filled.folder, source, tmp_path / "t.lance", rules), ray="none")
    found = _rows(tmp_path / "t.lance")
    # Without a caption there is no score, and an empty one is none.
    assert (found[names[-1]]["score_fit"], found[names[-1]]["score_quality"]) == (None, None)
    pictures = library.images([awkward_pictures()[name] for name in names[:-1]])
    ours = np.array([found[name]["vector"] for name in names[:-1]])
    allowed = np.linalg.norm(ours - pictures, axis=1) + 3e-6
    fit = (pictures * library.texts(texts[:-1])).sum(axis=1)
    assert (np.abs(np.array([found[name]["score_fit"] for name in names[:-1]]) - fit) <= allowed).all()
    depicted = (pictures * library.texts([f"A photo depicts {text}" for text in texts[:-1]])).sum(axis=1)
    quality = 2.5 * np.maximum(depicted, 0)
    assert (np.abs(np.array([found[name]["score_quality"] for name in names[:-1]]) - quality) <= 2.5 * allowed).all()


def test_a_search_by_text_finds_what_the_library_finds(filled: Filled, library: Library, reference: Vectors) -> None:
    if not FAMILIES[filled.kind].has_text:
        with pytest.raises(EncoderError, match="no text side"):
            clipflow.open(filled.uri).search("a cup")
        return
    allowed = dict(zip(awkward_files(), _allowed(_vectors(filled), reference)[:, 0], strict=True))
    for text in (LABELS["capitals"], LABELS["combining"], ""):
        theirs = dict(zip(awkward_files(), (reference @ library.texts([text])[0]).tolist(), strict=True))
        hits = clipflow.open(filled.uri).search(text, k=1000)
        ours = {Path(hit["source_uri"]).name: hit["similarity"] for hit in hits}
        assert ours.keys() == theirs.keys()
        assert list(ours.values()) == sorted(ours.values(), reverse=True)
        # Lance reckons in float32.
        assert all(abs(ours[name] - theirs[name]) <= allowed[name] + 1e-6 for name in theirs)


def test_a_label_without_a_text_is_refused(clip_folder: Path, catalogue: Path, tmp_path: Path) -> None:
    spec = _job(clip_folder, {"uri": str(catalogue)}, tmp_path / "t.lance", [])
    with pytest.raises(PolicyError, match="has no text"):
        clipflow.run(_with_rules(spec, [{**RULE, "labels": {**LABELS, "space": ""}}]), ray="none")


def _as_labels(keys: list[str]) -> list[str]:
    """Two spellings of one label are one: the policy takes the composed one."""
    return [unicodedata.normalize("NFC", LABELS[key]) for key in keys]


def _with_rules(spec: JobSpec, rules: list[dict[str, Any]]) -> JobSpec:
    return JobSpec.model_validate({**spec.body(), "policy": {"rules": rules}})
