"""Two states side by side: the table as a run left it and as it is now, or as it is and under another policy."""

import os
from collections.abc import Mapping
from typing import Any

import lance

from clipflow.audit.foresee import foreseen
from clipflow.audit.groups import Bounds, groups, rates
from clipflow.audit.view import Rows, View, grouping, open_view
from clipflow.errors import QueryError, TableError
from clipflow.jobfile import read_policy
from clipflow.table.address import TableAddress
from clipflow.table.images import open_images

_FILES = (".yaml", ".yml", ".json")


def other(
    now: View, address: TableAddress, images: lance.LanceDataset, against: str
) -> tuple[dict[str, Any], View, View]:
    """What to compare with: {kind, run_id | policy_id, version}, and the two states, earlier and later.

    A run's state is the earlier one; a policy's is the later one.

    Args:
        images: The dataset that `now` shows.

    Raises:
        QueryError: There is no such run, or it left no version.
        TableError: The version is cleaned up.
        PolicyError, JobFileError: The policy cannot be read, cannot be applied, or needs texts encoded.
    """
    if _is_policy(against):
        policy = read_policy(against)
        after = now.under("later", policy, foreseen(now, images, policy))
        return {"kind": "policy", "policy_id": policy.policy_id, "version": now.version}, now, after
    version = _version_after(now, against)
    try:
        dataset = open_images(address, version)
    except TableError as error:
        mend = "Name a later run, or a policy file; `clipflow maintain --keep-days` says how long versions stay."
        raise TableError(f"Version {version}, which the run {against} left, is gone.", mend) from error
    before = open_view(now.db, "earlier", address, dataset, [name for name in now.by if _has(dataset, name)])
    return {"kind": "run", "run_id": against, "version": version}, before, now


def _is_policy(against: str) -> bool:
    named = against == "-" or against.startswith("env:") or "://" in against or against.endswith(_FILES)
    return named or os.path.isfile(against)


def compare(before: View, after: View, bounds: Bounds) -> dict[str, Any]:
    """{moved, rules, groups} of two states.

    moved[] is {from, to, n} over all rows, null where a row is not in that state. rules[] and groups[] hold
    `from` and `to`, each {n, removed, rate, not_shown, not_shown_rate} or null where that state has no such rule, or
    the group is too small in it; `difference` = the later rate minus the earlier one, `not_shown_difference` too.
    """
    rules = [_side_by_side({"rule": rule}, *pair) for rule, pair in _paired(rates(before), rates(after))]
    keyed = [{(g["column"], g["value"], g["rule"]): g for g in groups(view, bounds)[0]} for view in (before, after)]
    found = [
        _side_by_side({"column": column, "value": value, "rule": rule}, *pair)
        for (column, value, rule), pair in _paired(*keyed)
    ]
    return {"moved": moved(before, after), "rules": rules, "groups": found}


def moved(before: View, after: View) -> Rows:
    """[{from, to, n}] over the rows of both, by verdict."""
    return before.ask(
        f'SELECT a.status AS "from", b.status AS "to", count(*) AS n '
        f"FROM {before.name} a FULL JOIN {after.name} b USING (image_id) GROUP BY ALL ORDER BY ALL"
    )


def _version_after(now: View, run_id: str) -> int:
    runs = now.db.execute("SELECT to_version, verb, state FROM runs WHERE run_id = ?", [run_id]).fetchall()
    if not runs:
        last = now.ask("SELECT run_id FROM runs ORDER BY started_at DESC LIMIT 3")
        raise QueryError(
            f"The table has no run {run_id!r}, and there is no such policy file.",
            f"The last runs are {', '.join(row['run_id'] for row in last)}." if last else "Name a policy file.",
        )
    if runs[0][0] is None:
        _, verb, state = runs[0]
        why = "is still running" if state == "running" else f"(a {verb}, {state}) left no version of the table"
        raise QueryError(f"The run {run_id} {why}.", "Name another run.")
    return int(runs[0][0])


def _has(dataset: lance.LanceDataset, name: str) -> bool:
    try:
        grouping(name, dataset.schema)
    except QueryError:
        return False
    return True


def _paired(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> list[tuple[Any, tuple[Any, Any]]]:
    return [(key, (left.get(key), right.get(key))) for key in dict.fromkeys([*left, *right])]


def _side_by_side(what: dict[str, Any], left: Any, right: Any) -> dict[str, Any]:
    before, after = (_side(one) for one in (left, right))
    differences = {f"{kind}difference": _difference(before, after, f"{kind}rate") for kind in ("", "not_shown_")}
    return {**what, "from": before, "to": after, **differences}


def _difference(before: dict[str, Any] | None, after: dict[str, Any] | None, rate: str) -> float | None:
    if before is None or after is None or before[rate] is None or after[rate] is None:
        return None
    return float(after[rate] - before[rate])


def _side(counted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if counted is None:
        return None
    n, removed, hidden = counted["n"], counted["removed"], counted["not_shown"]
    rates = {"rate": removed / n if n else None, "not_shown_rate": hidden / n if n else None}
    return {"n": n, "removed": removed, "not_shown": hidden, **rates}
