"""The policy of a merge as JSON values, and back.

Above: `_dict`. Below: `_policies`, `_spec`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, cast

from ..errors import ConfigError, DecodeError
from ._policies import POLICIES, Arrival, Barrier, Prioritized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._policies import MergePolicy
    from ._spec import JoinSpec

__all__ = ["MERGE_FIELDS", "merge_policy", "merge_to_data"]

MERGE_FIELDS: Final = ("weights", "max_held", "code")
"""What may stand beside the target of a merge and its policy."""


def merge_to_data(join: JoinSpec) -> object:
    """Return a merge as JSON values; of a policy that has a function no more than that it has one."""
    policy = join.policy
    if policy == Arrival():
        return str(join.target)
    found: dict[str, object] = {"target": str(join.target), "policy": policy.name}
    if isinstance(policy, Prioritized) and policy.weights:
        found["weights"] = list(policy.weights)
    elif isinstance(policy, Barrier) and policy != Barrier():
        found["max_held"] = policy.max_held
    elif policy.is_code:
        found["code"] = True
    return found


def merge_policy(data: Mapping[str, object], path: str, given: MergePolicy | None) -> MergePolicy:
    """Return the policy of a merge.

    Args:
        data: Its fields.
        path: Where they stand.
        given: Its policy, if that was given because it has a function.

    Raises:
        DecodeError: If there is no such policy, or it has no such field.
        ConfigError: If it has a function and was not given, or another one was.
    """
    if "policy" not in data:
        return Arrival()
    name = data["policy"]
    if not isinstance(name, str) or name not in POLICIES:
        near = difflib.get_close_matches(name, POLICIES, n=1) if isinstance(name, str) else []
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(POLICIES)}"
        raise DecodeError(f"there is no such policy; {hint}", f"{path}.policy")
    if data.get("code", False) not in (True, False):
        raise DecodeError("true or false was expected", f"{path}.code")
    if data.get("code"):
        if given is None or given.name != name or not given.is_code:
            message = (
                f"the merge {data['target']!r:.80} is {name!r} with a function; give that policy again, by this name"
            )
            raise ConfigError("policies", message)
        return given
    kind = POLICIES[name]
    wanted = {Prioritized: "weights", Barrier: "max_held"}.get(cast("Any", kind))
    values = {field: value for field, value in data.items() if field in ("weights", "max_held")}
    wrong = next((field for field in values if field != wanted), None)
    if wrong is not None:
        raise DecodeError(f"the policy {name!r} has no such field", f"{path}.{wrong}")
    try:
        made: MergePolicy = cast("Any", kind)(**values)
    except ConfigError as error:
        raise DecodeError(str(error), f"{path}.{wanted}") from None
    return made
