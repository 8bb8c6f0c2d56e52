"""Search: the rows nearest to a text, an image or another row, by cosine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow.compute as pc

from clipflow.decode import decode
from clipflow.encoders import EncoderInfo, encoder_spec, load_encoder
from clipflow.encoders.base import Encoder
from clipflow.errors import QueryError, TableError
from clipflow.failures import ImageFailure
from clipflow.files import read_file
from clipflow.query.columns import stored_columns
from clipflow.spec import Limits, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.condition import check_condition, refused
from clipflow.table.dataset import metadata
from clipflow.table.images import open_images
from clipflow.table.lookup import find_ids
from clipflow.table.moved import current
from clipflow.uri import shown

SHOWN = ["image_id", "source_uri", "status", "caption"]


def search(
    table: str,
    text: str | None = None,
    *,
    image: str | Path | None = None,
    like: str | None = None,
    k: int = 10,
    where: str | None = None,
    everything: bool = False,
    version: int | None = None,
    columns: Sequence[str] = (),
    storage: StorageSpec | None = None,
) -> list[dict[str, Any]]:
    """The `k` nearest rows, nearest first, each with `similarity`, the cosine in [-1, 1].

    Args:
        text: What to look for; or
        image: The path or `s3://` address of a picture like it; or
        like: An image of the table, as `table.lookup.find_ids` takes it: others like it, and no encoder is loaded.
        where: An SQL condition on the table's columns.
        everything: Rows of every status that have a vector, not only accepted ones.
        version: A version of this very table; None is the latest, of the one it was migrated to if it was.
        columns: What rows carry besides: attributes by their name, or any column of the table.

    Raises:
        QueryError: The condition cannot be read, the picture cannot be decoded, or there is no such image or column.
        TableError, EncoderError: The table or its encoder cannot be opened.
    """
    if sum(one is not None for one in (text, image, like)) != 1:
        raise QueryError(
            "A search needs a text, an image or an image_id, and one of them only.",
            "Give TEXT (before --columns), --image FILE, or --like IMAGE_ID.",
        )
    if k < 1:
        raise QueryError(f"k is {k}; it must be 1 or more.", "Give -k 10.")
    if version is not None and version < 1:
        raise QueryError(f"The version is {version}; versions count from 1.", "Leave it out for the latest.")
    address = TableAddress.of(table, storage)
    dataset = open_images(current(address) if version is None else address, version)
    about = metadata(dataset)
    if "encoder" not in about:
        raise TableError(f"{dataset.uri} holds no vectors of clipflow.", "Name the table that `clipflow run` filled.")
    if where:
        check_condition(dataset, where)
    more = stored_columns(columns, dataset.schema)
    conditions = [f"({where})"] * bool(where) + ["status = 'accepted'"] * (not everything)
    if like is not None:
        key, query = _stored(dataset, like)
        conditions.append(f"image_id != '{key}'")
    elif text is not None:
        query = encoder_of(about).encode_texts([text])[0]
    else:
        query = _encode_image(about, str(image))
    try:
        # Without an index, or with `use_index`, Lance's answer is exact; the prefilter keeps k full.
        found = dataset.to_table(
            columns=list(dict.fromkeys([*SHOWN, *more.values(), "_distance"])),
            filter=" AND ".join(conditions) or None,
            prefilter=True,
            nearest={
                "column": "vector",
                "q": query.astype(dataset.schema.field("vector").type.value_type.to_pandas_dtype()),
                "k": k,
                "metric": "cosine",
                "use_index": False,
            },
        )
    except (ValueError, OSError) as error:
        raise refused(dataset, where, error) from error
    return [
        {
            "source_uri": row["source_uri"],
            "similarity": 1.0 - row["_distance"],
            "status": row["status"],
            "caption": row["caption"],
            "image_id": row["image_id"],
            **{name: row[column] for name, column in more.items()},
        }
        for row in found.to_pylist()
    ]


def encoder_of(about: dict[str, str]) -> Encoder:
    """The encoder that a table's vectors came from.

    Raises:
        QueryError: What its name stands for now is another checkpoint.
    """
    card = json.loads(about["encoder"])
    info = EncoderInfo.from_card(card)
    encoder = load_encoder(encoder_spec(info), precision="fp32", decode=info.decode)
    if encoder.info.encoder_id != about["encoder_id"]:
        raise QueryError(
            f"{card['model']} is no longer the encoder of this table "
            f"({encoder.info.encoder_id[:12]} instead of {about['encoder_id'][:12]}).",
            "Restore the checkpoint that the table's metadata names.",
        )
    return encoder


def _stored(dataset: lance.LanceDataset, name: str) -> tuple[str, np.ndarray]:
    """The image_id and the vector of a row."""
    (key,) = find_ids(dataset, [name])
    rows = dataset.to_table(columns=["vector", "status"], filter=pc.field("image_id") == key)
    vector = rows.column("vector")[0]
    if not vector.is_valid:
        raise QueryError(f"The image {key} has no vector: it failed.", "See `clipflow explain`, or name another.")
    return key, np.asarray(vector.as_py(), np.float32)


def _encode_image(about: dict[str, str], name: str) -> np.ndarray:
    data = read_file(name, "picture", QueryError)
    try:
        rgb = decode(data, Limits().max_pixels).rgb
    except ImageFailure as failure:
        raise QueryError(
            f"The picture {shown(name)} cannot be decoded: {failure.code}.", "Give another picture."
        ) from None
    encoder = encoder_of(about)
    vector: np.ndarray = encoder.encode_pixels(encoder.preprocess(rgb)[None])[0]
    return vector
