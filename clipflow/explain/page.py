"""The page about one image: sections of lines and tables, which text and HTML draw alike."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tabulate import tabulate

_CARD = (
    *("model", "revision", "commit", "loader", "family", "dim", "encoder_id", "checkpoint_fp", "preprocess_fp"),
    *("score", "logit_scale", "logit_bias"),
)
# An address or a caption may hold what a terminal obeys, and a line's end would break the page's lines.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it: pairs of a name and a value, a table under its header, and remarks."""

    title: str
    pairs: Sequence[tuple[str, str]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    remarks: Sequence[str] = ()


def title(body: Mapping[str, Any]) -> str:
    """What the page is about, and the verdict."""
    return f"{_shown(body['identity']['source_uri'])}: {body['status']}"


def sections(body: Mapping[str, Any]) -> list[Section]:
    """The page of an explanation's body; empty sections are left out."""
    found = [
        _verdict(body),
        _rules(body),
        *(_words(rule) for rule in body["rules"]),
        Section("Review", _pairs(body["review"] or {})),
        Section("Identity and source", [("image_id", body["image_id"]), *_pairs(body["identity"], {"image_id"})]),
        Section("Caption and attributes", _pairs({"caption": body["caption"], **body["attributes"]})),
        Section("Pixels", _pairs(body["pixels"])),
        _provenance(body),
        Section("Encoder", [*_pairs({name: body["encoder"].get(name) for name in _CARD}), *_computed(body["run"])]),
        Section("Policy", _pairs(body["policy"])),
        _history(body["history"]),
    ]
    return [section for section in found if section.pairs or section.rows or section.remarks]


def text(page: Iterable[Section]) -> str:
    """The sections for a terminal."""
    return "\n\n".join("\n".join(_lines(section)) for section in page)


def _lines(section: Section) -> Iterable[str]:
    yield section.title.upper()
    width = max((len(name) for name, _ in section.pairs), default=0)
    for name, value in section.pairs:
        yield f"  {name:<{width}}  {value}"
    if section.rows:
        table = tabulate(section.rows, headers=section.header, tablefmt="simple", disable_numparse=True)
        yield from (f"  {line}" for line in table.splitlines())
    for remark in section.remarks:
        yield f"  {remark}"


def _verdict(body: Mapping[str, Any]) -> Section:
    pairs = [("status", body["status"]), ("reasons", ", ".join(body["reasons"] or ()) or "none")]
    if body["failure"]:
        failure = body["failure"]
        kept = "not tried again while the object, limits and decoder stay as they are"
        again = kept if failure["final"] else "tried again by later runs"
        return Section("Verdict", [*pairs, (failure["code"], f"{failure['meaning']}; {again}")])
    if body["review"]:
        says = body["rules_say"]
        pairs.append(("without the review", " ".join([says["status"], *(f"({name})" for name in says["reasons"])])))
    who = "by rules " if body["review"] else ""
    pairs += [(f"{who}{way['to']} if", way["if"]) for way in body["changes"]]
    remarks = ["A human's verdict stands until it is withdrawn, whatever the scores are."] * bool(body["review"])
    if "source_deleted" in (body["reasons"] or ()):
        remarks = ["source_deleted: the object is gone; the rules decide again when it returns."]
        remarks += ["A human's verdict waits, and holds again when it returns."] * bool(body["review"])
    if body["provenance"]["policy_id"] != body["policy"]["policy_id"]:
        remarks.append("The row was judged by an earlier policy; the rules here are those of the table's current one.")
    return Section("Verdict", pairs, remarks=[*remarks, body["note"]])


def _rules(body: Mapping[str, Any]) -> Section:
    rows = []
    for rule in body["rules"]:
        for key, bound in rule["bounds"].items() or (("no bound", None),):
            distance = rule["distance"].get(key)
            fired = "fired" if key in rule["fired"] else "no score" if rule["value"] is None else "-"
            rows.append(
                [rule["rule"], rule["score"], _shown(rule["value"]), key, _shown(bound), _shown(distance), fired]
            )
    remarks = ["distance: how much further the score may move before the bound fires; negative where it has."]
    header = ["rule", "score", "value", "bound", "at", "distance", ""]
    return Section("Rules", header=header, rows=_once(rows), remarks=remarks if rows else [])


def _words(rule: Mapping[str, Any]) -> Section:
    """A rule's own keys verbatim, its further scores, and the rows it points at."""
    pairs = []
    for name, value in rule["parameters"].items():
        several = value.items() if isinstance(value, Mapping) else ()
        pairs += [(f"{name}.{key}", _verbatim(words)) for key, words in several] or [(name, _verbatim(value))]
    pairs += [(column, _shown(value)) for column, value in rule["kept"].items()]
    for column, match in rule["matches"].items():
        pairs.append((column, f"{match['image_id']} {match['source_uri'] or ''}".strip() if match else "none"))
    return Section(f"Rule {rule['rule']}", pairs)


def _provenance(body: Mapping[str, Any]) -> Section:
    pairs = _pairs(body["provenance"])
    if body["run"] is None:
        return Section("Provenance", pairs, remarks=["The runs table does not hold this run any more."])
    run = {f"run.{name}": value for name, value in body["run"].items() if name not in ("run_id", "encoder")}
    return Section("Provenance", [*pairs, *_pairs(run)])


def _computed(run: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return _pairs(run["encoder"]) if run else []


def _history(history: Mapping[str, Any]) -> Section:
    rows = []
    for step in history["steps"]:
        head = [str(step["version"]), _shown(step["at"]), step["event"]]
        if step["event"] == "changed":
            rows += [[*head, name, f"{_shown(was)} → {_shown(now)}"] for name, (was, now) in step["changed"].items()]
        else:
            rows += [[*head, name, _shown(now)] for name, now in step["changed"].items()] or [[*head, "", ""]]
    remarks = [f"{history['versions']} versions were looked at."]
    if history["older"]:
        remarks = [f"Only the newest {history['versions']} versions were looked at; {history['older']} are older."]
    return Section("History", header=["version", "at", "", "column", "value"], rows=_once(rows), remarks=remarks)


def _once(rows: list[list[str]]) -> list[list[str]]:
    """The first three cells, which lines below each other share, only on the first of them."""
    same = [number > 0 and rows[number - 1][:3] == row[:3] for number, row in enumerate(rows)]
    return [["", "", "", *row[3:]] if again else row for again, row in zip(same, rows, strict=True)]


def _pairs(values: Mapping[str, Any], without: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Of what is known."""
    kept = {name: value for name, value in values.items() if name not in set(without)}
    return [(name, _shown(value)) for name, value in kept.items() if value not in (None, "", {}, [])]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))


def _verbatim(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
