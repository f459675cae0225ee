"""The process that measures one case: `python -m benchmarks._child <question> <case as JSON>`; prints the sample as JSON."""

from __future__ import annotations

import importlib
import json
import sys

from ._harness import Case

__all__: list[str] = []

if __name__ == "__main__":
    question, payload = sys.argv[1:]
    sample = importlib.import_module(f"benchmarks.bench_{question}").measure(Case(**json.loads(payload)))
    print(json.dumps(sample))
