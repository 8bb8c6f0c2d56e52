"""The images table: opened for reading, or made ready for a run."""

import json
from collections.abc import Mapping

import lance
import pyarrow as pa

from clipflow.errors import EncoderMismatch, PolicyError, TableError
from clipflow.schema import COLUMNS
from clipflow.spec import PolicySpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import ensure_columns, ensure_dataset, metadata, open_dataset


def open_images(address: TableAddress, version: int | None = None) -> lance.LanceDataset:
    """The table at its latest (or a given) version.

    Raises:
        TableError: There is no such table.
    """
    dataset = open_dataset(address, version=version)
    if dataset is None:
        raise TableError(f"There is no table {address.uri}.", "Check the path, or fill it with `clipflow run`.")
    return dataset


def about_images(dataset: lance.LanceDataset) -> dict[str, str]:
    """The metadata of an images table: encoder, policy, scores.

    Raises:
        TableError: It is a table of something else.
    """
    about = metadata(dataset)
    if "encoder" not in about:
        raise TableError(f"{dataset.uri} holds no images of clipflow.", "Name the table that `clipflow run` filled.")
    return about


def policy_of(about: Mapping[str, str]) -> PolicySpec:
    """The policy that a table's metadata names."""
    return PolicySpec.model_validate_json(about["policy"])


def scores_of(about: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Fingerprints of stored scores: by policy_id, of every policy that rows may have been judged by, and by rule."""
    found: dict[str, dict[str, str]] = json.loads(about.get("scores", "{}"))
    return found


def check_encoder(dataset: lance.LanceDataset, about: dict[str, str]) -> None:
    """Refuse a table of another encoder, see `check_images`."""
    there = metadata(dataset)
    if "encoder_id" not in there:
        raise TableError(f"{dataset.uri} was not made by clipflow.", "Name another table.")
    if there["encoder_id"] != about["encoder_id"]:
        raise EncoderMismatch(
            f"The table {dataset.uri} holds vectors of {_encoder(there)}; this job's encoder is {_encoder(about)}.",
            "Vectors of two encoders cannot be compared: name the same model or another table, or change the table's "
            "model with `clipflow migrate TABLE --encoder MODEL`.",
        )


def check_images(dataset: lance.LanceDataset, schema: pa.Schema, about: dict[str, str]) -> None:
    """Refuse a table that this run must not write.

    Args:
        schema: What the run would create.
        about: The metadata that the run would give the table, see `schema.table_metadata`.

    Raises:
        EncoderMismatch, PolicyError, TableError: Naming both sides.
    """
    check_encoder(dataset, about)
    there = metadata(dataset)
    if there["policy_id"] != about["policy_id"]:
        raise PolicyError(
            f"The table {dataset.uri} was judged by policy {there['policy_id'][:12]}; "
            f"this job's policy is {about['policy_id'][:12]}.",
            "Change the table's policy with `clipflow judge --policy FILE`, which takes this job too, or use its own.",
        )
    scores, wanted = (scores_of(one).get(about["policy_id"], {}) for one in (there, about))
    for rule in sorted(scores.keys() & wanted.keys()):
        if scores[rule] != wanted[rule]:
            raise PolicyError(
                f"The scores of rule {rule!r} in {dataset.uri} follow from other weights or another text side.",
                "Restore the file that the rule names, or give the policy anew with `clipflow judge --policy FILE`.",
            )
    for field in schema:
        if field.name in dataset.schema.names and dataset.schema.field(field.name).type != field.type:
            raise TableError(
                f"The column {field.name} of {dataset.uri} is {dataset.schema.field(field.name).type}; "
                f"this job needs {field.type}.",
                "Set table.vector as the table has it." if field.name == "vector" else "Name another table.",
            )


def ensure_images(address: TableAddress, schema: pa.Schema, about: dict[str, str]) -> lance.LanceDataset:
    """Create the table, or add the columns that the run needs and it lacks; refuse a table of another kind."""
    dataset = ensure_dataset(address, address.images, schema.with_metadata(about))
    check_images(dataset, schema, about)
    return ensure_columns(address, address.images, schema)


def ensure_fixed_columns(address: TableAddress) -> None:
    """Add the columns of `schema.COLUMNS` that a table of an older version lacks."""
    ensure_columns(address, address.images, pa.schema([pa.field(one.name, one.type) for one in COLUMNS]))


def _encoder(about: dict[str, str]) -> str:
    card = json.loads(about["encoder"])
    return f"{card['model']} ({about['encoder_id'][:12]}, {card['dim']} dimensions)"
