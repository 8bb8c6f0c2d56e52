"""Search: the rows nearest to a text or an image, by cosine."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from clipflow.decode import decode
from clipflow.encoders import EncoderInfo, encoder_spec, load_encoder
from clipflow.encoders.base import Encoder
from clipflow.errors import QueryError, TableError
from clipflow.failures import ImageFailure
from clipflow.spec import Limits, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.condition import check_condition, refused
from clipflow.table.dataset import metadata
from clipflow.table.images import open_images
from clipflow.table.moved import current

SHOWN = ["image_id", "source_uri", "status", "caption"]


def search(
    table: str,
    text: str | None = None,
    *,
    image: str | Path | None = None,
    k: int = 10,
    where: str | None = None,
    everything: bool = False,
    version: int | None = None,
    storage: StorageSpec | None = None,
) -> list[dict[str, Any]]:
    """The `k` nearest rows, nearest first, each with `similarity`, the cosine in [-1, 1].

    Args:
        text: What to look for; or
        image: The path of a picture like it.
        where: An SQL condition on the table's columns.
        everything: Rows of every status that have a vector, not only accepted ones.
        version: A version of this very table; None is the latest, of the one it was migrated to if it was.

    Raises:
        QueryError: The condition cannot be read, or the picture cannot be decoded.
        TableError, EncoderError: The table or its encoder cannot be opened.
    """
    if (text is None) == (image is None):
        raise QueryError("A search needs a text or an image, and not both.", "Give TEXT, or --image PATH.")
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
    encoder = encoder_of(about)
    query = encoder.encode_texts([text]) if text is not None else _encode_image(encoder, Path(image or ""))
    conditions = [f"({where})"] * bool(where) + ["status = 'accepted'"] * (not everything)
    try:
        # Without an index, or with `use_index`, Lance's answer is exact; the prefilter keeps k full.
        found = dataset.to_table(
            columns=[*SHOWN, "_distance"],
            filter=" AND ".join(conditions) or None,
            prefilter=True,
            nearest={
                "column": "vector",
                "q": query[0].astype(dataset.schema.field("vector").type.value_type.to_pandas_dtype()),
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


def _encode_image(encoder: Encoder, path: Path) -> np.ndarray:
    try:
        rgb = decode(path.read_bytes(), Limits().max_pixels).rgb
    except OSError as error:
        raise QueryError(f"The picture {path} cannot be read ({error.strerror}).", "Check the path.") from None
    except ImageFailure as failure:
        raise QueryError(f"The picture {path} cannot be decoded: {failure.code}.", "Give another picture.") from None
    vector: np.ndarray = encoder.encode_pixels(encoder.preprocess(rgb)[None])
    return vector
