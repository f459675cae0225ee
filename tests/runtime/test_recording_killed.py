"""A process that records is killed: what it has written is read, in order, and the next process goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from streamflow.observe import read_recording

pytestmark = pytest.mark.services

PROGRAM = Path(__file__).parents[1] / "servers" / "recorded_run.py"


@pytest.mark.timeout(60)
def test_a_process_that_is_killed_has_left_a_recording_that_is_read_up_to_there(tmp_path: Path) -> None:
    """semantics 24.21: SIGKILL at random moments; each run a beginning without a gap, and close behind what had come out."""
    path, seed = tmp_path / "a.rec", random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(6):
        told = 0
        with subprocess.Popen([sys.executable, str(PROGRAM), str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 5)):
                told = int(process.stdout.readline())
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.random() * 0.01)
            process.kill()
            told = max([told, *(int(line) for line in process.stdout.read().splitlines())])

        recording = read_recording(path)
        run = recording.run()
        assert run.reason is None, f"seed {seed}"
        for point in ("input", "output"):
            seen = list(run.seen_at(point))
            assert [one.ordinal for one in seen] == list(range(seen[0].ordinal, seen[-1].ordinal + 1)), f"seed {seed}"
            assert all(one.element.text.startswith(f"{one.ordinal} ") for one in seen), f"seed {seed}"
        # Less than its queue, and one batch that was being written, were on their way.
        assert seen[-1].ordinal > told - 1000, f"seed {seed}"
    files = list(tmp_path.glob("a.rec*"))
    assert 1 <= len(files) <= 5
    assert all(one.stat().st_size <= 1_000_000 for one in files)
