"""A small S3 on loopback whose listings are written down page by page, as stores err that are not sound."""

import hashlib
import html
import http.server
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "lying"
_LIST = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lying</Name>'


class Page(NamedTuple):
    """One answer: its keys, whether it says that there are more, and the token that leads to them."""

    keys: Sequence[str]
    more: bool = False
    token: str | None = None


class LyingStore(http.server.ThreadingHTTPServer):
    """Answers listings by the token they come with, and every other question truly.

    Attributes:
        asked: How many pages were asked for.
    """

    daemon_threads = True

    def __init__(self, objects: Mapping[str, bytes], pages: Mapping[str | None, Page]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.pages = dict(objects), dict(pages)
        self.asked = 0

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def lying_store(objects: Mapping[str, bytes], pages: Mapping[str | None, Page]) -> Iterator[LyingStore]:
    """A store that serves until the block ends."""
    with LyingStore(objects, pages) as store:
        thread = threading.Thread(target=store.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LyingStore

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        if not key:
            token = query.get("continuation-token", [None])[0]
            self.server.asked += 1
            # A listing that no rule ends must not run for ever, not even in a test.
            page = self.server.pages[token] if self.server.asked < 100 else Page([])
            self._send(200, self._listing(page), {"Content-Type": "application/xml"})
        elif key in self.server.objects:
            data = self.server.objects[key]
            about = {"ETag": _etag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            self._send(200, data, about)
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {})

    def _listing(self, page: Page) -> bytes:
        text = f"{_LIST}<KeyCount>{len(page.keys)}</KeyCount><IsTruncated>{str(page.more).lower()}</IsTruncated>"
        if page.token is not None:
            text += f"<NextContinuationToken>{html.escape(page.token)}</NextContinuationToken>"
        for key in page.keys:
            data = self.server.objects[key]
            text += (
                f"<Contents><Key>{html.escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{html.escape(_etag(data))}</ETag><Size>{len(data)}</Size></Contents>"
            )
        return f"{text}</ListBucketResult>".encode()

    def _send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'
