"""How much memory this process holds.

Above: the questions. Below: the operating system.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["peak_kib", "resident_kib"]

_STATUS = Path("/proc/self/status")


def resident_kib() -> int:
    """Return what is resident now, in KiB; where the system does not tell, the most that ever was."""
    return _status("VmRSS") or peak_kib()


def peak_kib() -> int:
    """Return the most that was ever resident, in KiB."""
    # Linux counts into ru_maxrss what the parent held before exec, so the process's own high-water mark comes first.
    found = _status("VmHWM")
    if found:
        return found
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def _status(key: str) -> int:
    if not _STATUS.is_file():
        return 0
    lines = (line.split() for line in _STATUS.read_text(encoding="utf-8").splitlines())
    return next((int(words[1]) for words in lines if words and words[0] == f"{key}:"), 0)
