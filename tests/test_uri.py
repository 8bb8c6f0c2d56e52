"""One spelling per object, and no secret in it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.errors import SourceError
from clipflow.uri import canonical, file_address, former, image_id, join, local_path, scheme, shown, spellings

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name)
SECRET = "hunter2"


def test_canonical_of_a_path_is_absolute_and_verbatim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical("a b/%20#?.jpg") == f"file://{tmp_path}/a b/%20#?.jpg"
    assert canonical(f"file://{tmp_path}/x/../ü.jpg") == f"file://{tmp_path}/ü.jpg"
    assert canonical("//etc/x") == canonical("file:////etc/x") == canonical("file://localhost/etc/x") == "file:///etc/x"


def test_links_are_not_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert canonical(tmp_path / "link" / "a") == f"file://{tmp_path}/link/a"


@given(NAMES, NAMES)
def test_every_file_name_has_an_address_of_its_own_in_utf8_that_leads_back(one: bytes, other: bytes) -> None:
    paths = [os.path.abspath(b"/nowhere/" + name) for name in (one, other)]
    uris = [canonical(os.fsdecode(path)) for path in paths]
    assert (uris[0] == uris[1]) == (paths[0] == paths[1])
    for path, uri in zip(paths, uris, strict=True):
        uri.encode()
        assert canonical(uri) == uri == file_address(os.fsdecode(path))
        assert os.fsencode(local_path(uri)) == path


def test_a_name_that_is_not_utf8_is_percent_encoded_as_a_whole() -> None:
    raw = canonical(os.fsdecode(b"/data/caf\xe9 %E9.png"))
    assert raw == "file:////data/caf%E9%20%25E9.png"
    assert former(raw) == "file:///data/caf%E9 %E9.png", "so older tables spell it"
    assert former(canonical("/data/caf%E9.png")) is None
    assert canonical("file:////data/plain%20.png") == "file:///data/plain%20.png", "two slashes alone say nothing"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_what_python_writes_as_a_uri_is_among_the_spellings(name: str) -> None:
    path = Path(os.path.abspath(f"/nowhere/{name}"))
    assert canonical(path) in spellings(canonical(path.as_uri()))
    assert all(canonical(one) == one for one in spellings(canonical(path.as_uri())))


def test_a_home_is_this_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert canonical("~/a.png") == join("file:///data", "~/a.png") == "file:///home/ann/a.png"
    assert canonical("~") == "file:///home/ann"
    assert canonical("/data/~/a.png") == "file:///data/~/a.png"
    assert join("s3://bucket/m", "~/a.png") == "s3://bucket/m/~/a.png", "a bucket has no home"
    assert join("s3://bucket/m", "/a.png") == "s3://bucket/a.png", "a bucket's root is no disk"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_an_s3_key_is_verbatim(key: str) -> None:
    assert canonical(f"S3://bucket/{key}") == f"s3://bucket/{key}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("HTTPS://Example.COM:443/A%20b?x=1#top", "https://example.com/A%20b?x=1"),
        ("http://example.com:80", "http://example.com/"),
        ("http://example.com:8080/a", "http://example.com:8080/a"),
        ("http://[::1]:80/a", "http://[::1]/a"),
        ("https://h/k?X-Amz-Date=1&X-Amz-Signature=2&versionId=3", "https://h/k?versionId=3"),
        ("https://h/k?AWSAccessKeyId=1&Expires=2&Signature=3", "https://h/k"),
        ("https://h/k?w=2&Policy=1&Key-Pair-Id=2&Signature=3", "https://h/k?w=2"),
        ("https://h/k?x-goog-signature=1&a=b", "https://h/k?a=b"),
        ("https://h/k?sv=2024&se=1&sp=r&sig=s%2B&size=9", "https://h/k?size=9"),
        ("https://h/k?sp=2&st=open", "https://h/k?sp=2&st=open"),
    ],
)
def test_canonical_of_http(given: str, wanted: str) -> None:
    assert canonical(given) == wanted
    assert canonical(wanted) == wanted


@pytest.mark.parametrize("kind", ["http", "https", "s3", "file", "ftp"])
@pytest.mark.parametrize(
    "login", [f"user:{SECRET}@", f"user%3A{SECRET}%40", f":{SECRET}@", f"{SECRET}@", f"key:{SECRET}/x@"]
)
def test_a_login_is_refused_and_never_shown(kind: str, login: str) -> None:
    with pytest.raises(SourceError) as caught:
        canonical(f"{kind}://{login}host/a.jpg")
    assert SECRET not in str(caught.value)
    assert SECRET not in shown(f"{kind}://{login}host/a.jpg")


@pytest.mark.parametrize(
    "wrong", ["s3://", "s3:///key", "http://", "http://h:x/", "gs://b/k", "file://host/a", "", "a\0"]
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(SourceError):
        canonical(wrong)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(SourceError):
        canonical("s3://b/\ud800")
    with pytest.raises(SourceError):
        canonical("/tmp/\ud800")


def test_scheme_and_image_id() -> None:
    assert [scheme(uri) for uri in ("a", "/a", "S3://b/k", "http://h", "https://h")] == [
        "file",
        "file",
        "s3",
        "http",
        "https",
    ]
    assert image_id("s3://b/ü") == "3b2f6d67928c5fe831020e9406e74f2b"


def test_join_resolves_relative_names(tmp_path: Path) -> None:
    assert join("s3://b/m", "a.jpg") == "s3://b/m/a.jpg"
    assert join("s3://b/m", "../x/a.jpg") == "s3://b/x/a.jpg"
    assert join("s3://b", "a//b.jpg") == "s3://b/a//b.jpg"
    assert join("s3://b/m", "https://H/a") == "https://h/a"
    assert join("file://", "a") == join("file:///", "a") == "file:///a"
    assert join(f"file://{tmp_path}", "../a") == f"file://{tmp_path.parent}/a"
    with pytest.raises(SourceError):
        join("s3://b/m", "../../a")
