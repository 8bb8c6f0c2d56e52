"""Settling: scores and verdicts that depend on the other rows of a table, made right again after a change.

A duplicate is told from the rows before it that no other rule and no reviewer rejects, so a row's score depends
on verdicts of earlier rows only, and the answer is one: a function of the set of rows. It is reached by repeating
"compare, judge" for those rows that the last round changed something for, until nothing changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from clipflow.policy.judge import Bools, Verdicts, judge
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Floats
from clipflow.policy.scorers.duplicate import NOBODY, Asked, Best, Duplicate
from clipflow.policy.verdict import score_column
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


@dataclass(frozen=True)
class Start:
    """What is known of N rows before they are settled.

    Attributes:
        columns: Score columns and measures, float32 [N] by name.
        best: By rule of duplicates, right but for what follows.
        fresh: bool [N], rows that were never compared with the others.
        lost: By rule of duplicates bool [N], rows whose original is gone.
    """

    columns: dict[str, Floats]
    best: dict[str, Best]
    fresh: Bools
    lost: dict[str, Bools]

    @classmethod
    def stored(cls, policy: PolicySpec, census: Census) -> Self:
        """As the table holds it; rows that come are fresh."""
        columns = {name: census.floats(name) for rule in policy.rules for name in _columns(rule) or [rule.score]}
        names = {rule.name: f"match_{rule.name}" for rule, _ in comparing(policy)}
        best = {rule: Best(columns[f"score_{rule}"], census.places(match)) for rule, match in names.items()}
        return cls(columns, best, census.coming, {rule: census.lost(match) for rule, match in names.items()})

    @classmethod
    def carried(cls, policy: PolicySpec, census: Census, before: Census, settled: Settled) -> Self:
        """As another version was settled, for the rows that both have."""
        start = cls.anew(policy, census, {})
        places = before.find(census)
        same = places != NOBODY
        start.fresh[same] = False
        for name, values in settled.columns.items():
            start.columns[name][same] = values[places[same]]
        there = census.find(before)
        for rule, best in settled.best.items():
            start.best[rule].score[same] = best.score[places[same]]
            match = best.match[places[same]]
            start.best[rule].match[same] = np.where(match == NOBODY, NOBODY, there[match])
            start.lost[rule][same] = (match != NOBODY) & (there[match] == NOBODY)
        return start

    @classmethod
    def anew(cls, policy: PolicySpec, census: Census, columns: Mapping[str, Floats]) -> Self:
        """Every row is fresh; `columns` are the scores but for duplicates."""
        rows = len(census)
        known = {name: census.floats(name) for rule in policy.rules for name in _columns(rule) or [rule.score]}
        best = {rule.name: Best.none(rows) for rule, _ in comparing(policy)}
        return cls({**known, **columns}, best, np.ones(rows, bool), {rule: np.zeros(rows, bool) for rule in best})


def comparing(policy: PolicySpec) -> list[tuple[Rule, Duplicate]]:
    """The rules of duplicates, with their scorers."""
    found = [(rule, find_scorer(rule.score, rule.name)) for rule in policy.rules]
    return [(rule, scorer) for rule, scorer in found if isinstance(scorer, Duplicate)]


def has_duplicates(policy: PolicySpec) -> bool:
    """Whether a verdict of the policy can depend on other rows."""
    return bool(comparing(policy))


def depends_on_rows(rule: Rule, policy: PolicySpec) -> bool:
    """Whether a rule's score depends on other rows: it tells duplicates, or reads the score of a rule that does."""
    scorer = find_scorer(rule.score, rule.name)
    told = {name for one, _ in comparing(policy) for name in _columns(one)}
    return scorer.level == "table" or bool(scorer.reads(rule) & told)


def settle(policy: PolicySpec, prepared: Mapping[str, Any], census: Census, start: Start) -> Settled:
    """Status and scores of all rows.

    Args:
        prepared: See `policy.judge.prepare`.
        census: The rows.
        start: What is known of them; taken over.
    """
    return _Settling(policy, prepared, census, start).run()


class _Settling:
    def __init__(self, policy: PolicySpec, prepared: Mapping[str, Any], census: Census, start: Start) -> None:
        self._policy, self._prepared, self._census, self._start = policy, prepared, census, start
        self._comparing = comparing(policy)
        self._columns, self._best = start.columns, start.best
        for rule, best in self._best.items():
            best.score[start.fresh], best.match[start.fresh] = np.nan, NOBODY
            self._columns[f"score_{rule}"] = best.score

    def run(self) -> Settled:
        fresh = self._start.fresh
        verdicts = self._judge()
        eligible = self._eligible(verdicts)
        gained = {name: mask & fresh for name, mask in eligible.items()}
        anew = {name: fresh | lost for name, lost in self._start.lost.items()}
        first = bool(self._comparing)
        while first or any(mask.any() for mask in (*gained.values(), *anew.values())):
            before = {name: (best.score.copy(), best.match.copy()) for name, best in self._best.items()}
            for rule, scorer in self._comparing:
                asked = Asked(anew[rule.name], gained[rule.name], eligible[rule.name])
                # What looks at the whole table is not told what left it.
                if asked.anew.any() or asked.gained.any() or (first and scorer.whole):
                    scorer.compare(rule, self._census, asked, self._best[rule.name])
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
        names = {rule.name: score_column(rule) for rule in self._policy.rules}
        by_rule = {rule: self._columns[name] for rule, name in names.items()}
        return judge(self._policy, by_rule, self._census.failures, self._census.standing, self._census.reviews)

    def _eligible(self, verdicts: Verdicts) -> dict[str, Bools]:
        """By rule of duplicates, the rows that can be originals."""
        rejecting = list(self._policy.rules)
        independent = [rule for rule in rejecting if not depends_on_rows(rule, self._policy)]
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
