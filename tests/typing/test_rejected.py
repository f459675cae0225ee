"""Types that accept everything pass every other check: here is what they must refuse."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "tests" / "typing" / "rejected").glob("*.py"))


def expected(path: Path) -> set[tuple[str, int, str]]:
    """Return the file, line and code of each `# rejected: code` in a sample."""
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return {
        (path.name, number, found[1]) for number, line in lines if (found := re.search(r"# rejected: ([a-z-]+)$", line))
    }


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first run on a machine has no cache
def test_the_type_checker_refuses_each_marked_line_and_no_other() -> None:
    """The public signatures say what they take: each sample is a mistake that users make."""
    paths = [str(path.relative_to(ROOT)) for path in SAMPLES]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--hide-error-context", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)

    assert done.returncode == 1, done.stdout + done.stderr
    assert {(Path(file).name, int(line), code) for file, line, code in found} == set().union(*map(expected, SAMPLES)), (
        done.stdout
    )
    assert sum(map(len, map(expected, SAMPLES))) == len(found), done.stdout
