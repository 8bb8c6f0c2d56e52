"""The datasets of a table, as they are made and grow."""

from pathlib import Path

import pyarrow as pa
import pytest

from clipflow.errors import TableError
from clipflow.table.address import TableAddress
from clipflow.table.dataset import ensure_columns, ensure_dataset


def test_a_column_that_differs_only_in_case_from_one_that_is_there_is_refused(tmp_path: Path) -> None:
    address = TableAddress.of(str(tmp_path / "t.lance"))
    schema = pa.schema([pa.field(name, pa.string()) for name in ("image_id", "attr_Locale")])
    ensure_dataset(address, address.images, schema)
    more = schema.append(pa.field("attr_who", pa.string()))
    assert ensure_columns(address, address.images, more).schema.names == more.names
    with pytest.raises(TableError, match="attr_Locale; attr_locale differs from it only in case"):
        ensure_columns(address, address.images, more.append(pa.field("attr_locale", pa.string())))
    assert ensure_columns(address, address.images, schema).schema.names == more.names
