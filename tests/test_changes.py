"""The change notes of `changes/`, and the script that makes a release of them."""

from __future__ import annotations

import datetime
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def changelog() -> ModuleType:
    spec = importlib.util.spec_from_file_location("changelog", ROOT / "scripts" / "changelog.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_note_has_the_form_that_its_readme_asks_for(changelog: ModuleType) -> None:
    """`changes/README.md`: a name with a known type, and sentences; the changelog still has a place for a release."""
    changelog.read_notes(ROOT / "changes")

    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count(changelog.MARK) == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("branch.fixed.md", "It works.", "call it"),
        ("+Branch.fixed.md", "It works.", "call it"),
        ("+branch.repaired.md", "It works.", "call it"),
        ("+branch.fixed.md", "it works", "full stop"),
        ("+branch.fixed.md", "", "full stop"),
    ],
)
def test_a_note_of_another_form_is_refused_by_name(
    changelog: ModuleType, tmp_path: Path, name: str, text: str, told: str
) -> None:
    """A wrong note is found when it is written, not on the day of the release."""
    (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=told) as caught:
        changelog.read_notes(tmp_path)
    assert name in str(caught.value)


def test_a_release_lists_its_notes_by_type_above_the_releases_before_it(changelog: ModuleType, tmp_path: Path) -> None:
    """`scripts/changelog.py`: what breaks comes first, and no older release is lost."""
    (tmp_path / "README.md").write_text("# How", encoding="utf-8")
    (tmp_path / "+a.fixed.md").write_text("A is\nmended.\n", encoding="utf-8")
    (tmp_path / "+b.breaking.md").write_text("B is gone.", encoding="utf-8")
    before = f"# Changelog\n\n{changelog.MARK}\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- All.\n"

    after = changelog.release(before, "0.2.0", datetime.date(2026, 2, 3), changelog.read_notes(tmp_path))

    assert after == (
        f"# Changelog\n\n{changelog.MARK}\n## 0.2.0 (2026-02-03)\n\n### Breaking\n\n- B is gone.\n\n### Fixed\n\n- A is mended.\n"
        "\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- All.\n"
    )


def test_a_release_without_notes_is_refused(changelog: ModuleType) -> None:
    """An empty section would say that nothing changed."""
    with pytest.raises(ValueError, match="nothing to release"):
        changelog.release(changelog.MARK, "0.2.0", datetime.date(2026, 2, 3), [])
