"""The page: whole, harmless, alone, and with every figure."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clipflow.audit.audit import audit
from clipflow.audit.html.page import page, write_page
from clipflow.audit.report import interval, label
from clipflow.errors import UsageError
from tests.audit.tables import POLICY as MADE_UP
from tests.audit.tables import by_rules, row, write

EVIL = "<script>alert('&')</script>"
POLICY = {
    "purpose": "A shop's catalogue & <more>",
    "owner": "Team",
    "contact": "team@example.com",
    "rules": [
        {"name": "odd", "score": "caption", "review_above": 0.1, "reject_above": 0.8},
        {"name": "small", "score": "min_side", "reject_below": 30.0, "review_below": 50.0},
        {
            "name": "off",
            "score": "zero_shot",
            "labels": {"product": "a <b>product</b> photo", "other": ["something else", "no product"]},
            "label": "product",
            "none": "other",
            "templates": ["a photo of {}", "art: {}"],
            "reject_below": 0.2,
        },
    ],
}
VOID = {"meta", "br", "img", "link"}


class Strict(HTMLParser):
    """Fails on tags that do not match; keeps names, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Strict:
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    groups = [EVIL, None, "(none)", 'quote"d', "hi-IN"]
    rows = [
        row(
            at,
            min_side=float(at % 90),
            score_odd=(at % 37) / 37,
            score_off=(at % 11) / 11,
            attr_locale=groups[at % 5],
            reviewed_verdict={7: "accepted", 80: "rejected"}.get(at),
        )
        for at in range(200)
    ]
    rows = by_rules(rows, [rule for rule in POLICY["rules"] if isinstance(rule, dict)])
    rows += [row(at, "failed", reasons=["corrupt"]) for at in range(200, 203)]
    return str(write(tmp_path_factory.mktemp("page") / "shop.lance", rows, POLICY))


@pytest.fixture(scope="module")
def against(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("policy") / "p.json"
    path.write_text(json.dumps({"rules": [{"name": "small", "score": "min_side", "reject_below": 40}]}))
    return str(path)


def test_it_is_well_formed_and_has_every_figure(table: str, against: str) -> None:
    report = audit(table, by=["locale", "job"], against=against, fail_if="flagged")
    found = parsed(page(report))
    text = " ".join("".join(found.text).split())
    for said in (
        "A shop's catalogue & <more>",
        "team@example.com",
        "stub:dim=4",
        table,
        "corrupt",
        "How to read this page",
    ):
        assert said in text, said
    for rule in report.rules:
        for value in (rule["rule"], rule["column"], *(f"{bound:g}" for bound in rule["bounds"].values())):
            assert value in text, value
        assert interval({**rule, "rate": rule["reject_rate"]}) in text
        assert f"the tallest holds {max(rule['histogram']['counts'])}" in text
        for move in rule["sensitivity"]:
            assert f"{move['moved']}at {move['to']:.4g}{move['rejected']:+d} rejected" in text
    for group in report.groups:
        assert label(group["value"]) in text
        assert f"{group['low'] * 100:.1f} to {group['high'] * 100:.1f}" in text
        assert f"({group['removed']})" in text
    assert "a <b>product</b> photo" in text
    assert "art: {}" in text
    assert {"svg", "title", "desc", "table", "caption"} <= found.names
    assert len(found.ids) == len(set(found.ids))


def test_nothing_runs_and_nothing_is_loaded(table: str) -> None:
    html = page(audit(table, by=["locale"]))
    found = parsed(html)
    assert not found.names & {"script", "link", "img", "iframe", "object", "embed", "image", "use", "foreignobject"}
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "xlink:href", "style"), (tag, name)
        if name == "href":
            assert value == "#method"
    assert not re.search(r"url\(|@import|https?://", html)
    assert EVIL in "".join(found.text)


def test_a_group_that_waits_for_review_is_found(tmp_path: Path) -> None:
    rows = by_rules(
        (row(at, min_side=40.0 if at < 30 else 70.0, attr_locale="de" if at < 40 else "en") for at in range(120)),
        MADE_UP["rules"],
    )
    report = audit(str(write(tmp_path / "t.lance", rows)), by=["locale"], fail_if="bool_or(not_shown_flagged)")
    assert (report.overall["removed"], report.overall["review"]) == (0, 30)
    assert report.fail_if is not None
    assert report.fail_if["holds"]
    assert "<strong>de</strong>: not shown 75.0 %, 3.00 times the overall rate (30 of 40 rows)" in page(report)
    assert "75.0 % x3.00 !" in report.text()


def test_every_drawing_says_what_it_shows(table: str) -> None:
    html = page(audit(table, by=["locale"]))
    drawings = re.findall(r"<svg.*?</svg>", html)
    assert len(drawings) == 1 + 5 + 3, "verdicts; locale by any rule, not shown and by three rules; three histograms"
    for drawing in drawings:
        assert re.match(
            r'<svg viewBox="0 0 720 \d+" role="img" aria-label="[^"]+"><title>[^<]+</title><desc>[^<]+', drawing
        )
        for number in re.findall(r'(?:x|y|x1|x2|cx|width)="(-?[\d.]+)"', drawing):
            assert -20 <= float(number) <= 740


@pytest.mark.parametrize("rules", [[], POLICY["rules"]])
def test_an_empty_table_and_no_policy_have_a_page(tmp_path: Path, rules: list[object]) -> None:
    report = audit(str(write(tmp_path / "t.lance", [], {"rules": rules})), by=["locale"])
    text = "".join(parsed(page(report)).text)
    assert "The table is empty." in text
    assert report.document()["groups"] == []
    nothing = {"rate": None, "low": None, "high": None}
    hidden = {f"not_shown_{key}": value for key, value in nothing.items()}
    assert report.overall == {"n": 0, "removed": 0, **nothing, "review": 0, "not_shown": 0, **hidden}
    assert report.text()


def test_a_page_that_cannot_be_written_is_a_wrong_call(table: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_page(audit(table), str(tmp_path / "none" / "a.html"))
