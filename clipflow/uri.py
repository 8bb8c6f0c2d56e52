"""Addresses of images: one spelling per object, and the key of its row.

A canonical address is what `source_uri` holds and what `image_id` hashes, so these
functions never change what they return for an address they have accepted before.
"""

import hashlib
import os
import posixpath
import re
import unicodedata
from typing import Literal, cast
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes, urlsplit

from clipflow.errors import SourceError

Scheme = Literal["file", "s3", "http", "https"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_KNOWN = ("file", "s3", "http", "https")
_DEFAULT_PORT = {"http": 80, "https": 443}
_BYTES = "file:////"
_ENCODED = re.compile(r"(?:%[89A-F][0-9A-F])+")
_ESCAPED = re.compile("[\udc80-\udcff]")

_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
_SIGNATURE = frozenset({"signature", "expires", "key-pair-id", "awsaccesskeyid", "googleaccessid", "sig"})
# Short names that mean something else on other sites: signatures only beside a parameter that proves it.
_CLOUDFRONT = frozenset({"policy", "hash-algorithm"})
_AZURE = frozenset({"sv", "ss", "srt", "sp", "se", "st", "spr", "sip", "sr", "si", "sdd", "scid", "ses"}) | frozenset(
    {"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"}
)


def scheme(uri: str) -> Scheme:
    """The scheme of an address in lower case; a plain path is `file`.

    Raises:
        SourceError: A scheme that is not file, s3, http or https.
    """
    found = _SCHEME.match(uri)
    if not found:
        return "file"
    name = found[1].lower()
    if name not in _KNOWN:
        raise SourceError(
            f"{shown(uri)!r} has the scheme {name!r}, which is not supported.",
            "Name images by a path, or by file://, s3://, http:// or https://.",
        )
    return cast(Scheme, name)


def canonical(uri: str | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The one spelling of an address.

    A path becomes `file://` and its absolute path, links not resolved, verbatim; `~` at its beginning is this user's
    home. A path that is not UTF-8 becomes `file:////` and its percent-encoding, so that no two paths share an
    address: no other begins with two slashes. An S3 key stays as it is. An http address loses its fragment, its
    default port and its signature, and its host is lower case.

    Raises:
        SourceError: Not an address, or one that carries a user or a password.
    """
    text = os.fsdecode(uri)
    kind = scheme(text)
    rest = text if not _SCHEME.match(text) else text.split("://", 1)[1]
    if "\0" in text:
        raise SourceError(f"{shown(text)!r} holds a null byte.", "Name the object without it.")
    if kind == "file":
        return _absolute(text, rest)
    _refuse_login(text, rest)
    if kind == "s3":
        if not rest.partition("/")[0]:
            raise SourceError(f"{text!r} names no bucket.", "Write s3://bucket/key.")
        return _utf8(f"s3://{rest}")
    return _utf8(_http(text, kind))


def local_path(uri: str) -> bytes | str:
    """The path behind a `file://` address."""
    return _decoded(uri) if uri.startswith(_BYTES) else uri.removeprefix("file://")


def former(uri: str) -> str | None:
    """How older tables spell the address of a path that is not UTF-8; None for every other address."""
    if not uri.startswith(_BYTES):
        return None
    path = os.fsdecode(_decoded(uri))
    return "file://" + _ESCAPED.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)


def spellings(uri: str) -> list[str]:
    """A canonical address, and those that may have been meant by it, where none is an object of its own.

    Other systems hand over the same name percent-encoded (RFC 8089), or composed or decomposed (Unicode's NFC and
    NFD); older tables percent-encode just the bytes that are not UTF-8.
    """
    found = [uri]
    if "%" in uri and scheme(uri) == "file" and not uri.startswith(_BYTES):
        path = uri.removeprefix("file://")
        meant = (unquote_to_bytes(path), _raw(path))
        found += [canonical(os.fsdecode(one)) for one in meant if b"\0" not in one]
    for one in [one for one in found if not one.isascii()]:
        found += [unicodedata.normalize(form, one) for form in ("NFC", "NFD")]
    return list(dict.fromkeys(found))


def image_id(source_uri: str) -> str:
    """The key of an image's row: 32 hex digits of a canonical address."""
    return hashlib.sha256(source_uri.encode()).hexdigest()[:32]


def file_address(path: str) -> str:
    """The address of an absolute path as the operating system hands it over, without asking for its shortest form."""
    if path.isascii():
        return f"file://{path}"
    raw = path.encode("utf-8", "surrogateescape")
    return f"file://{path}" if _is_utf8(raw) else f"file:///{quote_from_bytes(raw, safe='/')}"


def shown(uri: str) -> str:
    """An address as an error may show it: without a user, a password, or the values of a query."""
    head, separator, rest = uri.partition("://")
    if not separator:
        return uri
    authority, slash, path = rest.partition("/")
    if _carries_login(rest):
        # Where a secret ends cannot be told when it may itself hold a slash or an encoded one.
        return f"{head}://***"
    if head.lower() in _DEFAULT_PORT:
        path = path.partition("?")[0].partition("#")[0]
    return f"{head}://{authority}{slash}{path}"


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` address; the key verbatim, and empty for the bucket itself."""
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    return bucket, key


def _absolute(text: str, rest: str) -> str:
    if rest is not text:
        _refuse_login(text, rest)
        host, slash, path = rest.partition("/")
        if not slash or host.lower() not in ("", "localhost"):
            raise SourceError(f"{shown(text)!r} is not an absolute path.", "Write file:/// and the whole path.")
        rest = "/" + path
        if rest.startswith("//") and not _is_utf8(raw := unquote_to_bytes(rest)):
            rest = os.fsdecode(raw)
    elif rest == "~" or rest.startswith("~/"):
        rest = os.path.expanduser(rest)
    if not rest:
        raise SourceError("An empty path names no image.", "Name a file or a folder.")
    # POSIX lets two leading slashes mean another root; here they would be a second spelling of one file.
    path = "/" + os.path.abspath(rest).lstrip("/")
    try:
        return file_address(path)
    except UnicodeEncodeError:
        return _utf8(path)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(uri: str) -> bytes:
    return unquote_to_bytes("/" + uri.removeprefix(_BYTES))


def _refuse_login(text: str, rest: str) -> None:
    if _carries_login(rest):
        raise SourceError(
            f"{shown(text)!r} carries a user or a password.",
            "Take it out of the address; credentials come from the environment.",
        )


def _carries_login(rest: str) -> bool:
    """Whether what follows `://` names a user, or holds a colon that no port or ARN explains."""
    if not any(sign in rest for sign in "@:%"):
        return False
    authority = unquote(re.split(r"[/?#]", rest, maxsplit=1)[0])
    colon = ":" in authority and not re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?|arn:.*", authority)
    return "@" in authority or colon


def _http(text: str, kind: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise SourceError(f"{shown(text)!r} is not an http address.", "Write https://host/path.")
    host = f"[{host}]" if ":" in host else host
    where = host if port in (None, _DEFAULT_PORT[kind]) else f"{host}:{port}"
    query = _unsigned(parts.query)
    return f"{kind}://{where}{parts.path or '/'}" + (f"?{query}" if query else "")


def _unsigned(query: str) -> str:
    pairs = [(unquote(pair.partition("=")[0]).lower(), pair) for pair in query.split("&")]
    names = {name for name, _ in pairs}
    dropped = set(_SIGNATURE)
    if "sig" in names:
        dropped |= _AZURE
    if names & {"signature", "key-pair-id"}:
        dropped |= _CLOUDFRONT
    kept = [pair for name, pair in pairs if name not in dropped and not name.startswith(_SIGNATURE_PREFIXES)]
    return "&".join(kept)


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SourceError(f"{shown(text)!r} is not valid Unicode.", "Write the address as UTF-8.") from None
    return text


def _raw(name: str) -> bytes:
    """Undo what `former` does: only bytes that are not UTF-8 were encoded, so only those are decoded."""

    def decode(found: re.Match[str]) -> str:
        run = bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogateescape")
        return "".join(c if _ESCAPED.match(c) else "".join(f"%{b:02X}" for b in c.encode()) for c in run)

    return os.fsencode(_ENCODED.sub(decode, name))


def join(folder: str, name: str) -> str:
    """The canonical address of `name`, which may be relative to the canonical address of a folder.

    In a bucket a slash at the beginning means the bucket's root: never a path of this machine.

    Raises:
        SourceError: Not an address, or `..` leads out of the bucket.
    """
    if _SCHEME.match(name):
        return canonical(name)
    if scheme(folder) == "file":
        if name.startswith(("/", "~/")):
            return canonical(name)
        return canonical(os.path.join(os.fsdecode(local_path(folder)) or "/", name))
    bucket, key = split_s3(folder)
    whole = name.lstrip("/") if name.startswith("/") else posixpath.join(key.strip("/"), name)
    if {".", ".."} & set(name.split("/")):
        whole = posixpath.normpath(whole)
        if whole.startswith("../") or whole in ("..", "."):
            raise SourceError(f"{name!r} leads out of the bucket {bucket!r}.", "Write the whole address.")
    return canonical(f"s3://{bucket}/{whole}")
