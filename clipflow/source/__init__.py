"""Listing: which images the source holds in an interval, as a stream of record batches.

    list_source(source, interval) ─▶ batches of `listing_schema(source)`

`objects` walks folders and buckets, `manifest` reads a table of addresses, `window` decides
which moments count, `listing` gives both the same columns.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from clipflow.interval import Interval
from clipflow.source.exclude import Exclude
from clipflow.source.listing import Notes, batches, listing_schema
from clipflow.source.manifest import list_manifest
from clipflow.source.objects import list_objects
from clipflow.source.window import Window
from clipflow.spec import SourceSpec

__all__ = ["Notes", "list_source", "listing_schema"]


def list_source(
    source: SourceSpec,
    interval: Interval | None = None,
    notes: Notes | None = None,
    *,
    own: Sequence[str] = (),
    whole: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Stream what the source holds, in batches of at most 10,000 rows of `listing_schema(source)`.

    `kind: objects` lists everything under the address except keys that end in a slash:

    - an address that ends in a slash is a folder; without the slash it is the folder of that
      name, and also the object of exactly that name, so that one file can be listed;
    - `*`, `?`, `[...]` and `**` narrow; `[[]` stands for a plain bracket, and what is there as written is no glob;
    - names that `source.exclude` holds are left out, and so are the tables of the job;
    - links that leave the root, or lead back to a folder above them, are not followed;
    - hidden files are listed, sockets, pipes and devices are not.

    `kind: manifest` lists the rows of a parquet, csv or jsonl file in their order.

    Args:
        source: The part of the job file that names the source.
        interval: The moments that count for the windows `modified` and `path`; None is unbounded.
        notes: Takes what the listing says beside its images.
        own: Canonical addresses of the job's own tables.
        whole: List all that the source ever lists, whatever its window.

    Raises:
        SourceError: The folder, bucket or manifest is missing, refused or unreadable.
        IntervalError: `window: path` without an interval.
        JobFileError: The path pattern or a named column is wrong.
        NotYet: A manifest holds http addresses.
        StorageUnavailable: Storage did not answer; a retry can help.
    """
    window = Window.of(source, None if whole else interval, whole=whole)
    if source.kind == "objects":
        rows = list_objects(source, window, Exclude.of(source, own), notes or Notes())
    else:
        rows = list_manifest(source, window)
    return batches(rows, listing_schema(source))
