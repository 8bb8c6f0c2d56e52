"""Everything that the table holds about one image, put together."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_columns
from clipflow.errors import UsageError
from clipflow.explain.changes import would_change
from clipflow.explain.history import read_history
from clipflow.explain.html import page
from clipflow.explain.page import sections, text, title
from clipflow.failures import FINAL, MEANINGS
from clipflow.policy.finding import Finding, findings
from clipflow.policy.scorers import find_scorer
from clipflow.policy.verdict import verdicts
from clipflow.schema import IDENTITY, MEASURES, REVIEW_COLUMNS
from clipflow.spec import PolicySpec, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.forgotten import when_forgotten
from clipflow.table.images import about_images, open_images, policy_of
from clipflow.table.lookup import find_ids, prefixes_of
from clipflow.table.moved import current
from clipflow.table.replace import whole_rows

NOTE = "A score is a measurement under this model, prompt and label set, not proof of what an image shows."

_PIXELS = ("media_type", "width", "height", *MEASURES)
_PROVENANCE = ("job", "dag_id", "dag_run_id", "interval_start", "interval_end", "embedded_at", "judged_at")
_RUN = (
    *("run_id", "verb", "state", "job", "interval_start", "interval_end", "started_at", "ended_at"),
    *("from_version", "to_version", "clipflow_version"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """One image, explained.

    Attributes:
        body: Plain data: table, version, image_id, identity, status, reasons, failure, rules_say (without a human),
            rules, changes, review, caption, attributes, pixels, provenance, run, encoder, policy, history, note.
    """

    body: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow explain --json`."""
        return self.body

    def text(self) -> str:
        """As a page of text."""
        return "\n".join([title(self.body), "", text(sections(self.body))])

    def html(self) -> str:
        """As one HTML page that needs no other file."""
        return page(title(self.body), sections(self.body))


def explain(table: str, image: str, *, storage: StorageSpec | None = None) -> Explanation:
    """Why an image has its verdict, and what became of it.

    Args:
        image: An image_id, a unique beginning of 8 digits or more, or a source URI.

    Raises:
        UsageError: The table has no such image, or it was forgotten.
    """
    address = current(TableAddress.of(table, storage))
    dataset = open_images(address)
    about = about_images(dataset)
    key = _find(address, dataset, image)
    rows = whole_rows(address, dataset, [key])
    if not len(rows):
        raise _forgotten(key, _content_forgotten(address, dataset, key))
    (row,) = rows.drop_columns(["vector"]).to_pylist()
    policy = policy_of(about)
    body = {
        "table": address.uri,
        "version": int(dataset.version),
        "image_id": key,
        "identity": _taken(row, [column.name for column in IDENTITY]),
        "status": row["status"],
        "reasons": row["reasons"],
        **_verdict(dataset, policy, rows, row),
        "review": _taken(row, REVIEW_COLUMNS) if row["reviewed_verdict"] else None,
        "caption": row["caption"],
        "attributes": {name.removeprefix("attr_"): row[name] for name in row if name.startswith("attr_")},
        "pixels": _taken(row, _PIXELS),
        "provenance": _taken(row, [*_PROVENANCE, "encoder_id", "policy_id", "run_id", "clipflow_version"]),
        "run": _run(address, row["run_id"]),
        "encoder": json.loads(about["encoder"]),
        "policy": _about_policy(about, policy),
        "history": read_history(dataset, key).document(),
        "note": NOTE,
    }
    return Explanation(body)


def _find(address: TableAddress, dataset: lance.LanceDataset, image: str) -> str:
    gone = {key: at for prefix in prefixes_of(image) for key, at in when_forgotten(address, "uri", prefix).items()}
    try:
        (key,) = find_ids(dataset, [image])
    except UsageError:
        if not gone:
            raise
        key = min(gone)
    if key in gone:
        raise _forgotten(key, gone[key])
    return key


def _forgotten(key: str, at: datetime | None) -> UsageError:
    when = f" on {at:%Y-%m-%d at %H:%M:%S} UTC" if at else ""
    return UsageError(f"The image {key} was forgotten{when}.")


def _content_forgotten(address: TableAddress, dataset: lance.LanceDataset, key: str) -> datetime | None:
    """When the bytes of a row that is still there were forgotten."""
    rows = dataset.to_table(columns=["content_sha256"], filter=pc.field("image_id") == key).to_pylist()
    return when_forgotten(address, "sha256", rows[0]["content_sha256"]).get(rows[0]["content_sha256"])


def _verdict(dataset: lance.LanceDataset, policy: PolicySpec, rows: pa.Table, row: Row) -> Row:
    """What the rules found, what they say without a human, and what would change that."""
    if row["status"] == "failed":
        return {"failure": _failure(row["reasons"][0]), "rules_say": None, "rules": [], "changes": []}
    (found,) = findings(policy, rows)
    unreviewed = with_columns(rows, {"reviewed_verdict": [None]})
    said = verdicts(policy, unreviewed)
    # Without `source_deleted`, which no score undoes.
    by_scores = verdicts(policy, with_columns(unreviewed, {"reasons": [[]]})).status[0].as_py()
    return {
        "failure": None,
        "rules_say": {"status": said.status[0].as_py(), "reasons": said.reasons[0].as_py()},
        "rules": [_rule(dataset, finding, row) for finding in found],
        "changes": would_change(found, by_scores),
    }


def _failure(code: str) -> Row:
    return {"code": code, "meaning": MEANINGS[code], "final": code in FINAL}


def _rule(dataset: lance.LanceDataset, finding: Finding, row: Row) -> Row:
    """What a rule found, with its own words verbatim, the further scores it keeps, and the rows it points at."""
    rule = finding.rule
    scorer = find_scorer(rule.score, rule.name)
    words = rule.model_dump(mode="json", exclude_none=True, exclude={"name", "score", *rule.bounds})
    return finding.document() | {
        "parameters": words,
        "kept": {column: row.get(column) for column in scorer.columns(rule)[1:]},
        "matches": {column: _match(dataset, row.get(column)) for column in scorer.matches(rule)},
    }


def _match(dataset: lance.LanceDataset, image_id: str | None) -> Row | None:
    if image_id is None:
        return None
    found = dataset.to_table(columns=["source_uri", "status"], filter=pc.field("image_id") == image_id).to_pylist()
    return {"image_id": image_id, **(found[0] if found else {"source_uri": None, "status": None})}


def _run(address: TableAddress, run_id: str | None) -> Row | None:
    """The row of the run that wrote the image; None when the runs table does not hold it any more."""
    runs = open_dataset(address, address.runs)
    found = [] if runs is None else runs.to_table(filter=pc.field("run_id") == run_id).to_pylist()
    if not found:
        return None
    card = json.loads(found[0]["encoder"])
    computed = _taken(card, ["precision", "computed_in", "backend", "runtime"])
    return _taken(found[0], _RUN) | {"context": json.loads(found[0]["context"] or "{}"), "encoder": computed}


def _about_policy(about: dict[str, str], policy: PolicySpec) -> Row:
    return {
        "policy_id": about["policy_id"],
        "purpose": policy.purpose,
        "owner": policy.owner,
        "contact": policy.contact,
    }


def _taken(row: Row, names: Iterable[str]) -> Row:
    return {name: row.get(name) for name in names}
