"""The links between the Markdown files of the project lead somewhere. Links to the web are not followed."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(path for name in ("docs", "changes", "examples") for path in sorted((ROOT / name).rglob("*.md"))),
    *sorted((ROOT / "benchmarks").glob("*.md")),  # not below it: the peers' environment is there
]

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+).+?\1")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def links_of(text: str) -> list[str]:
    """Return the targets of all links in a page, without those in code."""
    prose = _FENCE.sub("", text)
    # Code in the text of a link keeps its place: only brackets and what is in them must not count.
    prose = _CODE.sub("code", prose)
    return [first or second for first, second in _LINK.findall(prose)]


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the usual viewers name them."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = "".join(c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN")
        anchor = base = kept.strip().replace(" ", "-")
        number = 0
        while anchor in anchors:
            number += 1
            anchor = f"{base}-{number}"
        anchors.add(anchor)
    return anchors


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere, with the reason."""
    text = page.read_text(encoding="utf-8")
    broken: list[str] = []
    for link in links_of(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            broken.append(f"{link}: there is no {path}")
        elif anchor and target.suffix == ".md" and anchor not in anchors_of(target.read_text(encoding="utf-8")):
            broken.append(f"{link}: {target.name} has no heading {anchor!r}")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_pages_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A reader never ends at a missing page."""
    assert broken_links(page) == []


def test_every_page_of_the_documentation_is_in_its_index() -> None:
    """`docs/README.md`: a page that nobody links to is not read."""
    folder = ROOT / "docs"
    linked = {(folder / link).resolve() for link in links_of((folder / "README.md").read_text(encoding="utf-8"))}
    assert [page for page in sorted(folder.rglob("*.md")) if page not in linked and page.name != "README.md"] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """The check above can fail: a missing file, a missing heading, a reference; what is in code is no link."""
    (tmp_path / "other.md").write_text("# Ends, and `run()`\n\n## Ends, and run()\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [`b`](other.md#ends-and-run) [b2](other.md#ends-and-run-1) [c](#here) [d](https://example.org/x)\n"
        "[e](gone.md) [f](other.md#gone) [g](#gone)\n`[h](gone.md)`\n```\n[i](gone.md)\n# gone\n```\n\n[j]: gone.png\n",
        encoding="utf-8",
    )

    assert [found.partition(":")[0] for found in broken_links(page)] == [
        "gone.md",
        "other.md#gone",
        "#gone",
        "gone.png",
    ]
