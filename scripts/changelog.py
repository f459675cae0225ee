"""Put the change notes of `changes/` together.

    python scripts/changelog.py              print what waits for the next release
    python scripts/changelog.py 0.2.0        write it into CHANGELOG.md as that release, dated today, and remove the notes

The format of a note is in `changes/README.md`; `tests/test_changes.py` holds it.
"""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TITLES = {
    "breaking": "Breaking",
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "perf": "Faster",
}
MARK = "<!-- releases, newest first -->\n"
_NAME = re.compile(r"\+(?P<name>[a-z0-9]+(-[a-z0-9]+)*)\.(?P<kind>[a-z]+)\.md")


def read_notes(folder: Path) -> list[tuple[str, str]]:
    """Return the notes in `folder` as `(kind, text)`, in the order in which a release lists them.

    Raises:
        ValueError: If a file's name or text is not as `changes/README.md` says.
    """
    notes: list[tuple[str, str]] = []
    for path in sorted(folder.iterdir()):
        if path.name == "README.md":
            continue
        match = _NAME.fullmatch(path.name)
        if match is None or match["kind"] not in TITLES:
            raise ValueError(f"{path.name}: call it +short-name.<type>.md, with a type of {', '.join(TITLES)}")
        text = " ".join(path.read_text(encoding="utf-8").split())
        if not text.endswith("."):
            raise ValueError(f"{path.name}: write one or two sentences, with a full stop")
        notes.append((match["kind"], text))
    return sorted(notes, key=lambda note: list(TITLES).index(note[0]))


def render(notes: list[tuple[str, str]]) -> str:
    """Return the notes as Markdown, one section per kind."""
    sections: list[str] = []
    for kind, title in TITLES.items():
        lines = [f"- {text}\n" for found, text in notes if found == kind]
        if lines:
            sections.append(f"### {title}\n\n{''.join(lines)}")
    return "\n".join(sections)


def release(changelog: str, version: str, day: datetime.date, notes: list[tuple[str, str]]) -> str:
    """Return the text of CHANGELOG.md with one more release.

    Raises:
        ValueError: If there is nothing to release, or no place for it.
    """
    if not notes:
        raise ValueError("changes/ has no notes: nothing to release")
    head, mark, releases = changelog.partition(MARK)
    if not mark:
        raise ValueError(f"CHANGELOG.md has lost its line {MARK.strip()!r}")
    return f"{head}{mark}\n## {version} ({day.isoformat()})\n\n{render(notes)}{releases}"


def main(arguments: list[str]) -> None:
    """Run the script."""
    folder, changelog = ROOT / "changes", ROOT / "CHANGELOG.md"
    notes = read_notes(folder)
    if not arguments:
        print(render(notes), end="")
        return
    today = datetime.datetime.now(tz=datetime.UTC).date()
    changelog.write_text(release(changelog.read_text(encoding="utf-8"), arguments[0], today, notes), encoding="utf-8")
    for path in folder.glob("+*.md"):
        path.unlink()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
