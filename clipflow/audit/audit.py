"""The audit of a table: what its policy removes, whom it touches, and on what that hangs. It writes nothing there."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from clipflow.audit.against import compare, other
from clipflow.audit.condition import holds
from clipflow.audit.duplicates import duplicates
from clipflow.audit.groups import ANY, FOUR_FIFTHS, Bounds, groups, rates
from clipflow.audit.people import people
from clipflow.audit.prompts import prompt_sensitivity
from clipflow.audit.report import STATUSES, AuditReport
from clipflow.audit.rules import rules
from clipflow.audit.view import View, open_view
from clipflow.audit.wilson import share
from clipflow.audit.windows import open_runs, operations, windows
from clipflow.database import closed_database
from clipflow.errors import UsageError
from clipflow.query.search import encoder_of
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.images import open_images


def audit(
    table: str,
    *,
    by: Sequence[str] = (),
    against: str | None = None,
    fail_if: str | None = None,
    bounds: Bounds = FOUR_FIFTHS,
    prompts: bool = False,
    storage: StorageSpec | None = None,
) -> AuditReport:
    """Count a table; every figure is exact, and of one version.

    Args:
        by: Columns to group by: attributes by their name, or any column of texts, whole numbers or times.
        against: A run's id, to compare with the table as it left it; or a policy file.
        fail_if: See `audit.condition.holds`; `AuditReport.check` raises when it holds.
        prompts: Also score again under other templates, which loads the text encoder.

    Raises:
        QueryError: A column, the run or the condition is wrong.
        PolicyError, JobFileError: The policy to compare with cannot be read, cannot be applied, or needs texts encoded.
        TableError: There is no such table.
    """
    _check(bounds)
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    with closed_database() as db:
        open_runs(db, address)
        view = open_view(db, "images", address, dataset, list(dict.fromkeys(by)))
        report = _report(view, address.uri, bounds)
        if against is not None:
            what, before, after = other(view, address, dataset, against)
            report.against = {**what, **compare(before, after, bounds)}
        if prompts:
            encoder = cache(lambda: encoder_of(dict(view.about)))
            found = prompt_sensitivity(view, dataset, lambda texts: encoder().encode_texts(texts))
            report.rules = [{**rule, "prompts": found.get(rule["rule"])} for rule in report.rules]
    if fail_if is not None:
        report.fail_if = {"expression": fail_if, "holds": holds(fail_if, report.document())}
    return report


def _report(view: View, uri: str, bounds: Bounds) -> AuditReport:
    shown, suppressed = groups(view, bounds)
    statuses = {row["status"]: row["n"] for row in view.ask("SELECT status, count(*) AS n FROM {view} GROUP BY status")}
    whole = rates(view)[ANY]
    return AuditReport(
        table=uri,
        version=view.version,
        statuses={name: statuses.get(name, 0) for name in STATUSES},
        overall=_overall(whole),
        bounds=bounds,
        by=list(view.by),
        groups=shown,
        suppressed=suppressed,
        rules=rules(view),
        reasons=_reasons(view, "status <> 'failed'"),
        failures=_reasons(view, "status = 'failed'"),
        people=people(view),
        duplicates=duplicates(view),
        policy={"policy_id": view.about["policy_id"], **json.loads(view.about["policy"])},
        unjudged=view.one(
            f"SELECT count(*) AS n FROM {{view}} WHERE policy_id IS DISTINCT FROM '{view.about['policy_id']}'"
        )["n"],
        encoder=json.loads(view.about["encoder"]),
        windows=windows(view),
        runs=operations(view),
    )


def _overall(whole: dict[str, Any]) -> dict[str, Any]:
    n, removed, hidden = whole["n"], whole["removed"], whole["not_shown"]
    counted = {"n": n, "removed": removed, **_rate(removed, n), "review": hidden - removed, "not_shown": hidden}
    return counted | {f"not_shown_{key}": value for key, value in _rate(hidden, n).items()}


def _rate(k: int, n: int) -> dict[str, float | int | None]:
    return {key: value for key, value in share(k, n).items() if key in ("rate", "low", "high")}


def _reasons(view: View, condition: str) -> dict[str, int]:
    rows = view.ask(
        f"SELECT reason, count(*) AS n FROM (SELECT unnest(reasons) AS reason FROM {{view}} WHERE {condition}) "
        "GROUP BY reason ORDER BY n DESC, reason"
    )
    return {row["reason"]: row["n"] for row in rows}


def _check(bounds: Bounds) -> None:
    if bounds.min_group < 1:
        raise UsageError(f"--min-group is {bounds.min_group}; it must be 1 or more.", "Give --min-group 20.")
    if not 0 <= bounds.low <= 1 <= bounds.high:
        raise UsageError(
            f"--bounds are {bounds.low:g} and {bounds.high:g}; 1 must lie between them.", "Give --bounds 0.8 1.25."
        )
