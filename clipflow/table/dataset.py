"""Opening and creating Lance datasets, with Lance's errors told apart."""

import random
import time

import lance
import pyarrow as pa
from lance.commit import CommitConflictError

from clipflow.errors import ClipflowError, CommitContention, TableError
from clipflow.faults import storage_error
from clipflow.schema import SCHEMA_VERSION
from clipflow.table.address import TableAddress

_CREATE_ATTEMPTS = 20
_ALTER_ATTEMPTS = 100


def open_dataset(
    address: TableAddress, uri: str | None = None, version: int | None = None
) -> lance.LanceDataset | None:
    """The dataset at its latest (or a given) version, or None when there is none.

    Args:
        address: Says how the store is reached; `uri` defaults to its images table.

    Raises:
        TableError: The version does not exist, or a newer clipflow wrote the table.
        StorageUnavailable: The store does not answer.
    """
    uri = uri or address.images
    try:
        dataset = lance.dataset(uri, storage_options=address.options, version=version)
    except (ValueError, OSError) as error:
        if _is_absent(error):
            if version is not None and open_dataset(address, uri) is not None:
                raise TableError(f"{uri} has no version {version}.", "Name a version that exists.") from None
            return None
        raise as_ours(error, uri) from error
    _check_readable(dataset)
    return dataset


def ensure_dataset(address: TableAddress, uri: str, schema: pa.Schema) -> lance.LanceDataset:
    """The dataset, created empty when there is none; of several creators at once one wins and the others open."""
    if (there := open_dataset(address, uri)) is not None:
        return there
    for _ in range(_CREATE_ATTEMPTS):
        try:
            # With the default retries the same call replaces a dataset that exists.
            return lance.LanceDataset.commit(
                uri,
                lance.LanceOperation.Overwrite(schema, []),
                max_retries=0,
                storage_options=address.options,
                enable_stable_row_ids=True,
            )
        except (ValueError, OSError) as error:
            # A dataset without rows is falsy.
            if (found := open_dataset(address, uri)) is not None:
                return found
            if not _is_absent(error) and "already exists" not in str(error):
                raise as_ours(error, uri) from error
            time.sleep(random.uniform(0.01, 0.1))
    raise TableError(f"The table {uri} could not be created.", "Check that its folder can be written.")


def ensure_columns(address: TableAddress, uri: str, schema: pa.Schema) -> lance.LanceDataset:
    """The dataset at its latest version, with the columns of `schema` that it lacked; they are null in older rows.

    Raises:
        CommitContention: Others kept changing it.
        TableError: A name differs only in case from one that is there.
    """
    for _ in range(_ALTER_ATTEMPTS):
        dataset = open_dataset(address, uri)
        if dataset is None:
            raise as_ours(FileNotFoundError(uri), uri)
        alike = {name.lower(): name for name in dataset.schema.names}
        for name in schema.names:
            if (there := alike.get(name.lower(), name)) != name and name not in dataset.schema.names:
                what = f"{name} differs from it only in case, which SQL does not tell apart"
                raise TableError(f"{uri} has the column {there}; {what}.", "Spell it as the table does.")
        missing = [pa.field(field.name, field.type) for field in schema if field.name not in dataset.schema.names]
        if not missing:
            return dataset
        try:
            dataset.add_columns(missing)
        except CommitConflictError:
            time.sleep(0.05)
        except (ValueError, OSError) as error:
            if "already exists" not in str(error):
                raise as_ours(error, uri) from error
    raise CommitContention(f"Columns could not be added to {uri}.", "Run the job again later.")


def is_overtaken(dataset: lance.LanceDataset, address: TableAddress, uri: str) -> bool:
    """Whether there is a newer version: a deletion removes the files of older ones at once, also under a reader."""
    now = open_dataset(address, uri)
    return now is not None and now.version != dataset.version


def as_ours(error: BaseException, uri: str) -> ClipflowError:
    """A foreign error of Lance as one of ours."""
    ours = storage_error(error, uri, "open the table")
    return ours if ours.retryable else TableError(ours.message, ours.mend)


def metadata(dataset: lance.LanceDataset) -> dict[str, str]:
    """The schema metadata as text."""
    return {key.decode(): value.decode() for key, value in (dataset.schema.metadata or {}).items()}


def _check_readable(dataset: lance.LanceDataset) -> None:
    written = int(metadata(dataset).get("schema_version", 0))
    if written > SCHEMA_VERSION:
        raise TableError(
            f"{dataset.uri} has schema version {written}; this clipflow knows {SCHEMA_VERSION}.",
            "Upgrade clipflow.",
        )


def _is_absent(error: BaseException) -> bool:
    return "was not found" in str(error) and "_versions" in str(error)
