"""A store on loopback that answers late: folders as S3 buckets and as plain URLs, each request after a delay.

    python -m benchmarks.front FOLDER MILLISECONDS

Prints its port. It knows what a reader needs: list by prefix, get with ranges, head; it asks for no signature.
"""

import asyncio
import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from aiohttp import web


class Front:
    """Serves the folders below `home` as buckets."""

    def __init__(self, home: Path, delay: float) -> None:
        self._home, self._delay = home, delay

    def app(self) -> web.Application:
        """The routes of a store."""
        app = web.Application()
        app.router.add_get("/{bucket}", self.listing)
        app.router.add_get("/{bucket}/", self.listing)
        app.router.add_get("/{bucket}/{key:.+}", self.read)
        return app

    async def listing(self, request: web.Request) -> web.Response:
        """ListObjectsV2, all in one page."""
        await asyncio.sleep(self._delay)
        folder = self._home / request.match_info["bucket"]
        most = int(request.query.get("max-keys", "1000"))
        start = int(request.query.get("continuation-token", "0"))
        paths = [path for path in sorted(folder.iterdir()) if path.name.startswith(request.query.get("prefix", ""))]
        page = paths[start : start + most]
        more = start + most < len(paths)
        token = f"<NextContinuationToken>{start + most}</NextContinuationToken>" if more else ""
        body = "".join(map(_entry, page))
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{folder.name}</Name><KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{body}</ListBucketResult>"
        )
        return web.Response(text=text, content_type="application/xml")

    async def read(self, request: web.Request) -> web.StreamResponse:
        """GetObject and HeadObject."""
        await asyncio.sleep(self._delay)
        path = self._home / request.match_info["bucket"] / request.match_info["key"]
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": "image/jpeg"})


def _entry(path: Path) -> str:
    about = path.stat()
    changed = datetime.fromtimestamp(about.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    etag = hashlib.md5(f"{path.name} {about.st_size}".encode(), usedforsecurity=False).hexdigest()
    return (
        f"<Contents><Key>{escape(path.name)}</Key><LastModified>{changed}</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{about.st_size}</Size></Contents>"
    )


async def _serve(home: Path, delay: float) -> None:
    runner = web.AppRunner(Front(home, delay).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2]) / 1000))
