"""An S3 store that answers late: the files of a folder as the bucket `slow`, each answer after a pause.

python -m benchmarks.slow_store FOLDER MILLISECONDS prints its address, and serves until it is ended.
"""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from aiohttp import web

from benchmarks.usage import ROOT

BUCKET = "slow"


@contextmanager
def slow_store(folder: Path, milliseconds: int) -> Iterator[dict[str, str]]:
    """The store in a process of its own; gives the AWS_* variables under which it is found."""
    command = [sys.executable, "-m", "benchmarks.slow_store", str(folder), str(milliseconds)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None  # asked for above
    try:
        yield {
            "AWS_ENDPOINT_URL_S3": server.stdout.readline().strip(),
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.terminate()
        server.wait()


async def _serve(folder: Path, seconds: float) -> None:
    listing = _listing(folder)

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if bucket != BUCKET:
            return web.Response(status=404, text="<Error><Code>NoSuchBucket</Code></Error>")
        if not key:
            return web.Response(text=listing, content_type="application/xml")
        path = folder / key
        if not path.is_file():
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        return web.Response(body=path.read_bytes(), content_type="application/octet-stream")

    application = web.Application()
    application.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


def _listing(folder: Path) -> str:
    """Every object in one page, whatever was asked: as many as a benchmark needs."""
    entries = []
    for path in sorted(folder.iterdir()):
        found = path.stat()
        changed = f"{datetime.fromtimestamp(found.st_mtime, UTC):%Y-%m-%dT%H:%M:%S.000Z}"
        tag = hashlib.md5(path.name.encode(), usedforsecurity=False).hexdigest()
        entries.append(
            f"<Contents><Key>{escape(path.name)}</Key><LastModified>{changed}</LastModified>"
            f"<ETag>&quot;{tag}&quot;</ETag><Size>{found.st_size}</Size></Contents>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><IsTruncated>false</IsTruncated><KeyCount>{len(entries)}</KeyCount>{''.join(entries)}"
        "</ListBucketResult>"
    )


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]) / 1000))
