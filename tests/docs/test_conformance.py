"""`docs/conformance.md` lists every rule of the kit, as it is, with a heading of the contract that exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from streamflow.testing import Rule, Subject, rules_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
HEADINGS = set(
    re.findall(r"^### (\d+\.\d+) ", (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8"), re.MULTILINE)
)
TITLES = {
    "stage": "Stages",
    "channel": "Channels",
    "graph": "Graphs and runs",
    "provider": "Providers",
    "store": "Stores",
    "runtime": "The runtime",
}


def line_of(rule: Rule) -> str:
    return f"| {rule.id} | {rule.level} | {rule.promise} | {rule.holds} |"


def lines_below(title: str) -> list[str]:
    """Return the lines of one table of the page, without its head."""
    _, _, rest = PAGE.partition(f"\n### {title}\n")
    body = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [line for line in body.splitlines() if line.startswith("|")][2:]


def test_every_rule_has_its_line_and_every_line_its_rule() -> None:
    """conformance, what the rules hold: copy the missing lines into the table that is named, and take the others out."""
    missing, unknown = [], []
    for subject in get_args(Subject):
        wanted, there = [line_of(rule) for rule in rules_of(subject)], lines_below(TITLES[subject])
        missing += [f"{TITLES[subject]}: {line}" for line in wanted if line not in there]
        unknown += [f"{TITLES[subject]}: {line}" for line in there if line not in wanted]
    assert not missing, "missing in docs/conformance.md:\n" + "\n".join(missing)
    assert not unknown, "no rule any more:\n" + "\n".join(unknown)


def test_every_rule_holds_a_heading_of_the_contract() -> None:
    """conformance, what the rules hold: a number that leads nowhere is a promise that nobody made."""
    lost = [
        f"{rule.id}: {rule.holds}"
        for subject in get_args(Subject)
        for rule in rules_of(subject)
        if rule.holds not in HEADINGS
    ]
    assert not lost


def test_promises_are_sentences() -> None:
    """conformance, what a failure says: one sentence each, told to whoever broke it."""
    for subject in get_args(Subject):
        for rule in rules_of(subject):
            assert rule.promise[0].isupper() or rule.promise[0] == "`", rule
            assert rule.promise.endswith("."), rule
            assert "|" not in rule.promise, rule


def test_no_line_is_there_twice() -> None:
    """conformance, what the rules hold: each table has a rule once."""
    for title in TITLES.values():
        lines = lines_below(title)
        assert len(lines) == len(set(lines)), title


def test_every_id_is_a_rule_or_it_is_told_why_it_is_none() -> None:
    """conformance, what is not a rule: no number up to the last one is silently left out."""
    known = {int(one.id[3:]) for about in get_args(Subject) for one in rules_of(about) if one.id.startswith("SF-")}
    _, _, section = PAGE.partition("\n## What is not a rule, and why\n")
    ids = [
        re.findall(r"SF-(\d+)(?: to SF-(\d+))?", line.split("|")[1]) for line in section.splitlines() if "| " in line
    ]
    none = {number for line in ids for first, last in line for number in range(int(first), int(last or first) + 1)}
    assert known | none == set(range(1, max(known) + 1))
    assert not known & none
