"""Settling: scores and verdicts that depend on the other rows of a table, made right again after a change.

A duplicate is told from the rows before it that no other rule and no reviewer rejects, so a row's score depends
on verdicts of earlier rows only, and the answer is one: a function of the set of rows. It is reached by repeating
"compare, judge" for those rows that the last round changed something for, until nothing changes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clipflow.policy.judge import Bools, Verdicts, judge
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Floats
from clipflow.policy.scorers.duplicate import NOBODY, Asked, Best, Duplicate
from clipflow.spec import PolicySpec, Rule
from clipflow.table.census import Census


@dataclass(frozen=True)
class Settled:
    """What all N rows of a table come to.

    Attributes:
        columns: Score columns, float32 [N] by name.
        best: What each rule of duplicates found, by rule name.
        verdicts: Status and reasons.
    """

    columns: Mapping[str, Floats]
    best: Mapping[str, Best]
    verdicts: Verdicts


def settle(policy: PolicySpec, prepared: Mapping[str, Any], census: Census, found: "Settled | None" = None) -> Settled:
    """Status and scores of all rows.

    Args:
        prepared: See `policy.judge.prepare`.
        census: The rows. Those that are `fresh` were never compared; of the others the stored scores, or those of
            `found`, are right but for what fresh rows, and rows that left, change.
        found: The same rows as they were settled before; None takes what the table holds.
    """
    return _Settling(policy, prepared, census, found).run()


def has_duplicates(policy: PolicySpec) -> bool:
    """Whether a verdict of the policy can depend on other rows."""
    return any(find_scorer(rule.score, rule.name).level == "table" for rule in policy.rules)


class _Settling:
    def __init__(self, policy: PolicySpec, prepared: Mapping[str, Any], census: Census, found: Settled | None) -> None:
        self._policy, self._prepared, self._census = policy, prepared, census
        self._comparing: list[tuple[Rule, Duplicate]] = []
        self._columns: dict[str, Floats] = {}
        self._best: dict[str, Best] = {}
        for rule in policy.rules:
            scorer = find_scorer(rule.score, rule.name)
            self._columns |= {name: census.floats(name) for name in scorer.columns(rule) or [rule.score]}
            if isinstance(scorer, Duplicate):
                self._comparing.append((rule, scorer))
                self._best[rule.name] = self._known(rule, scorer, found)
        if found is not None:
            self._columns |= {name: values.copy() for name, values in found.columns.items()}

    def _known(self, rule: Rule, scorer: Duplicate, found: Settled | None) -> Best:
        if found is not None:
            there = found.best[rule.name]
            best = Best(there.score.copy(), there.match.copy())
        else:
            best = Best(self._columns[f"score_{rule.name}"].copy(), self._census.places(f"match_{rule.name}"))
        fresh = self._census.fresh
        best.score[fresh], best.match[fresh] = np.nan, NOBODY
        self._columns |= dict(zip(scorer.columns(rule), [best.score], strict=False))
        return best

    def run(self) -> Settled:
        census = self._census
        verdicts = self._judge()
        eligible = self._eligible(verdicts)
        gained = {name: mask & census.fresh for name, mask in eligible.items()}
        # The original of some left: it is not found any more.
        anew = {
            name: census.fresh | (census.lost(f"match_{name}") & (best.match == NOBODY))
            for name, best in self._best.items()
        }
        first = bool(self._comparing)
        while first or any(mask.any() for mask in (*gained.values(), *anew.values())):
            before = {name: (best.score.copy(), best.match.copy()) for name, best in self._best.items()}
            for rule, scorer in self._comparing:
                asked = Asked(anew[rule.name], gained[rule.name], eligible[rule.name])
                # What looks at the whole table is not told what left it.
                if asked.anew.any() or asked.gained.any() or (first and scorer.whole):
                    scorer.compare(rule, census, asked, self._best[rule.name])
                    self._columns |= {f"score_{rule.name}": self._best[rule.name].score, **self._best[rule.name].more}
            first = False
            self._derive(before)
            verdicts = self._judge()
            now = self._eligible(verdicts)
            gained = {name: mask & ~eligible[name] for name, mask in now.items()}
            anew = {name: self._orphans(name, eligible[name] & ~mask) for name, mask in now.items()}
            eligible = now
        return Settled(self._columns, self._best, verdicts)

    def _judge(self) -> Verdicts:
        names = {rule.name: (_columns(rule) or [rule.score])[0] for rule in self._policy.rules}
        by_rule = {rule: self._columns[name] for rule, name in names.items()}
        return judge(self._policy, by_rule, self._census.failures, self._census.standing, self._census.reviews)

    def _eligible(self, verdicts: Verdicts) -> dict[str, Bools]:
        """By rule of duplicates, the rows that can be originals."""
        rejecting = list(self._policy.rules)
        independent = [rule for rule in rejecting if not _depends(rule, self._policy)]
        found: dict[str, Bools] = {}
        for rule, scorer in self._comparing:
            others = [one.name for one in (independent if scorer.whole else rejecting) if one.name != rule.name]
            rejected = np.any([verdicts.rejects[name] for name in others] or [~self._census.embedded], axis=0)
            found[rule.name] = self._census.candidates & ~rejected
        return found

    def _orphans(self, rule: str, dropped: Bools) -> Bools:
        """Rows whose original is none any more."""
        best = self._best[rule]
        return np.asarray((best.match != NOBODY) & dropped[best.match])

    def _derive(self, before: Mapping[str, tuple[Floats, Any]]) -> None:
        """Score by derived rules the rows whose scores of duplicates changed."""
        derived = [rule for rule in self._policy.rules if find_scorer(rule.score, rule.name).level == "derived"]
        if not derived:
            return
        changed = np.any([~_same(score, self._best[name].score) for name, (score, _) in before.items()], axis=0)
        places = np.flatnonzero(changed & self._census.embedded)
        if not len(places):
            return
        known = {name: values[places] for name, values in self._columns.items()}
        evidence = replace(self._census.evidence(places), scores=known)
        for rule in derived:
            made = find_scorer(rule.score, rule.name).score(rule, self._prepared.get(rule.name), evidence)
            for name, values in made.items():
                self._columns[name][places] = values


def _columns(rule: Rule) -> list[str]:
    return find_scorer(rule.score, rule.name).columns(rule)


def _same(left: Floats, right: Floats) -> Bools:
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)))


def _depends(rule: Rule, policy: PolicySpec) -> bool:
    """Whether a rule's score depends on other rows."""
    level = find_scorer(rule.score, rule.name).level
    if level != "derived":
        return level == "table"
    tables = [one for one in policy.rules if find_scorer(one.score, one.name).level == "table"]
    return any(re.search(rf"\b{name}\b", rule.sql or "") for one in tables for name in _columns(one))
