"""One table at one version under one policy, as a view that every figure is counted over."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import lance
import pyarrow as pa

from clipflow.audit.firing import fires, judged, ruled
from clipflow.errors import QueryError
from clipflow.policy.verdict import score_column
from clipflow.query.columns import find_column, nearest_column
from clipflow.query.sql import readable
from clipflow.spec import PolicySpec, Rule
from clipflow.table.address import TableAddress
from clipflow.table.images import about_images

Rows = list[dict[str, Any]]

KINDS = ("reject", "review")

_PLAIN = ("image_id", "status", "reasons", "reviewed_verdict", "job", "source_modified", "policy_id")


@dataclass(frozen=True)
class View:
    """A view of the images; it holds no rows, each question streams the columns it needs.

    Its columns: image_id, status, reasons, reviewed_verdict, job, source_modified and policy_id;
    per rule `s_<rule>` (the score, NaN as null), `reject_<rule>` and `review_<rule>` (whether a bound fires);
    `ruled`, the status by the rules alone; `g0`, `g1` and so on, the columns to group by; every `match_<rule>`.

    Attributes:
        name: Its name in SQL.
        source: The name of the stored rows in SQL.
        schema: The stored columns.
        about: The table's metadata at that version.
        by: The stored column of each name to group by.
    """

    db: duckdb.DuckDBPyConnection
    name: str
    source: str
    schema: pa.Schema
    version: int
    about: Mapping[str, str]
    policy: PolicySpec
    by: Mapping[str, str]

    def ask(self, select: str) -> Rows:
        """The rows of a SELECT in which `{view}` stands for the view's name."""
        rows: Rows = self.db.sql(select.replace("{view}", self.name)).to_arrow_table().to_pylist()
        return rows

    def one(self, select: str) -> dict[str, Any]:
        """As `ask`, where there is exactly one row."""
        (row,) = self.ask(select)
        return row

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Each name to group by, with its column of the view."""
        return [(name, f"g{at}") for at, name in enumerate(self.by)]

    @property
    def matches(self) -> list[Rule]:
        """Rules whose duplicates are stored."""
        return [rule for rule in self.policy.rules if f"match_{rule.name}" in self.schema.names]

    def under(self, name: str, policy: PolicySpec, scores: pa.Table) -> "View":
        """The same rows under another policy.

        Args:
            scores: Beside their image_id the columns that stand in the place of stored ones, see `audit.foresee`.
        """
        source = f"{name}_images"
        own = [column for column in scores.column_names if column != "image_id"]
        kept = [column for column in self.schema.names if column not in own]
        self.db.register(f"{name}_scores", scores)
        columns = [*(f'i."{column}"' for column in kept), *(f"s.{column}" for column in own)]
        self.db.execute(
            f"CREATE TEMP VIEW {source} AS SELECT {', '.join(columns)} FROM {self.source} i JOIN {name}_scores s "
            "USING (image_id)"
        )
        schema = pa.schema([*(self.schema.field(column) for column in kept), *(scores.schema.field(c) for c in own)])
        view = replace(self, name=name, source=source, schema=schema, policy=policy)
        status = f"SELECT * REPLACE ({judged('ruled')} AS status) FROM ({_select(view)})"
        self.db.execute(f"CREATE TEMP VIEW {name} AS {status}")
        return view


def open_view(
    db: duckdb.DuckDBPyConnection, name: str, address: TableAddress, dataset: lance.LanceDataset, by: Sequence[str]
) -> View:
    """The table as it stands at the version of `dataset`, under the policy that it has there.

    Raises:
        QueryError: A column of `by` is not there, or makes no groups.
        TableError: It is no table of ours.
    """
    about = about_images(dataset)
    columns = {column: grouping(column, dataset.schema) for column in by}
    version = int(dataset.version)
    db.register(f"{name}_images", readable(address, version))
    policy = PolicySpec.model_validate(json.loads(about["policy"]))
    view = View(db, name, f"{name}_images", dataset.schema, version, about, policy, columns)
    db.execute(f"CREATE TEMP VIEW {name} AS {_select(view)}")
    return view


def grouping(column: str, schema: pa.Schema) -> str:
    """The stored column that a name means: a column of the table, or an attribute without its `attr_`.

    Raises:
        QueryError: Naming the nearest one.
    """
    found = find_column(column, schema)
    if found is None:
        hint = nearest_column(column, [field.name for field in schema if _groups(field.type)])
        raise QueryError(f"The table has no column {column!r} to group by.", hint)
    if not _groups(schema.field(found).type):
        raise QueryError(
            f"The column {column!r} is {schema.field(found).type}, which makes no groups.",
            "Group by a text, a whole number or a time.",
        )
    return found


def _groups(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_integer, pa.types.is_timestamp, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _select(view: View) -> str:
    rules = view.policy.rules
    stored = [
        *_PLAIN,
        *(f'"{column}" AS g{at}' for at, column in enumerate(view.by.values())),
        *(f"{_score(rule, view.schema)} AS s_{rule.name}" for rule in rules),
        *(f"match_{rule.name}" for rule in view.matches),
    ]
    fired = [f"{fires(rule, kind, f's_{rule.name}')} AS {kind}_{rule.name}" for rule in rules for kind in KINDS]
    inner = f"SELECT {', '.join(stored)} FROM {view.source}"
    return f"SELECT *, {ruled(view.policy)} AS ruled FROM (SELECT {', '.join(['*', *fired])} FROM ({inner}))"


def _score(rule: Rule, schema: pa.Schema) -> str:
    column = score_column(rule)
    if column not in schema.names:
        return "CAST(NULL AS FLOAT)"
    return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
