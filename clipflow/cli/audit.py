"""`clipflow audit`: what a policy removes, and whom it touches."""

import argparse
import logging
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb

_ABOUT = """Removal rates per group and rule with 95 % intervals, histograms, sensitivity, overrules, provenance.
It only reads; every figure is counted exactly at one version of the table."""
_END = """examples:
  clipflow audit lake/catalog.lance --by locale uploader --html audit.html
  clipflow audit lake/catalog.lance --against policy.yaml          what would move under another policy
  clipflow audit lake/catalog.lance --by locale --fail-if "bool_or(flagged)"
  clipflow audit lake/catalog.lance --fail-if "rejected_share > 0.2"

--fail-if is one expression of DuckDB over single figures (rejected_share, flagged_groups, moved_share ...) and
columns of groups (ratio, rate, n, rule, flagged ...), inside aggregates or asked of each group. When it holds, the
exit code is 1. The default of --bounds is the four-fifths rule of 29 CFR 1607.4 D and its reciprocal.
"""


def add(verbs: Any) -> None:
    """The verb."""
    audit = add_verb(verbs, "audit", "removal rates per group and rule, as text, JSON or a page", _audit, _ABOUT, _END)
    audit.usage = "clipflow audit TABLE [--by COLUMN ...] [options]"
    add_table(audit)
    add_groups(audit)
    audit.add_argument("--html", metavar="FILE", help="also write one whole page, to a path or to s3://")
    audit.add_argument("--against", metavar="RUN|POLICY", help="compare with a run's id, or with a policy file")
    audit.add_argument("--fail-if", metavar="EXPR", help="exit with 1 when this holds")
    audit.add_argument(
        "--bounds", nargs=2, type=float, default=(0.8, 1.25), metavar=("LOW", "HIGH"),
        help="flag ratios outside (default 0.8 1.25)",
    )  # fmt: skip
    audit.add_argument("--prompts", action="store_true", help="also score label sets under other templates")


def add_groups(verb: argparse.ArgumentParser) -> None:
    """What rates are grouped by."""
    verb.add_argument(
        "--by", nargs="+", action="extend", default=[], metavar="COLUMN", help="attributes, or columns of the table"
    )
    verb.add_argument(
        "--min-group", type=int, default=20, metavar="N", help="do not show groups of fewer rows (default 20)"
    )


def _audit(call: argparse.Namespace) -> Answer:
    from clipflow.audit.audit import audit
    from clipflow.audit.groups import Bounds
    from clipflow.audit.html.page import write_page

    report = audit(
        call.table,
        by=call.by,
        against=call.against,
        fail_if=call.fail_if,
        bounds=Bounds(call.bounds[0], call.bounds[1], call.min_group),
        prompts=call.prompts,
    )
    if call.html:
        write_page(report, call.html)
    if report.fail_if and report.fail_if["holds"] and not call.json:
        logging.getLogger("clipflow").info("%s\n", report.text())
    report.check()
    return report.document(), report.text()
