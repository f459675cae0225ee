"""A graph as a dictionary of JSON values, and back: what it joins and how, without the stages themselves, which are code.

Above: `runtime`. Below: `_builder`, `_validation`, `_spec`, `stages`.

```json
{
  "v": 1,
  "stages": [{"name": "ears", "kind": "transform"}, {"name": "sync", "kind": "transform", "inputs": ["heard", "seen"]}, …],
  "edges": [{"source": "ears", "target": "sync:heard", "buffer": 4}, …],
  "branches": [{"source": "ears", "otherwise": "log"}],
  "merges": ["log"],
  "nested": ["chat"]
}
```

What has its default is left out. A field that this release does not know is refused, not skipped: it would change what the graph does.
Stages are given by name; what is said of their kinds and ports must be true of them. Nothing in the data is imported or evaluated.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeVar, cast

from ..errors import BuildError, DecodeError, Finding, StageDefinitionError, StagePlacementError, UnknownStageError
from ..stages import StageKind, as_stage, checked_name
from ._builder import caller_of_package
from ._spec import EdgeSpec, Endpoint, ForkSpec, Graph, JoinSpec, NestSpec, Node
from ._validation import check
