"""What can go wrong while it is put together what a model is to read.

Above: `stages`, `context`. Below: `_base`.
"""

from __future__ import annotations

from ._base import StreamflowError

__all__ = ["ContextLimitError", "TemplateError", "UsageLimitError"]


class ContextLimitError(StreamflowError):
    """A conversation does not fit into its budget of tokens.

    Args:
        stage: Name of the stage.
        limit: How many tokens there may be.
        needed: How many there are of what must be kept.
    """

    def __init__(self, stage: str, limit: int, needed: int) -> None:
        super().__init__(stage, limit, needed)
        self.stage = stage
        """Name of the stage."""
        self.limit = limit
        """How many tokens there may be."""
        self.needed = needed
        """How many there are of what must be kept."""

    def __str__(self) -> str:
        return (
            f"stage {self.stage!r}: {self.needed} tokens do not fit into {self.limit}; "
            "shorten the system message or the newest message, or raise the budget"
        )


class TemplateError(StreamflowError):
    """A template was given not exactly the variables that it has. Repeats no value.

    Args:
        template: Name of the template.
        missing: Variables that it has and was not given.
        unused: Variables that it was given and does not have.
    """

    def __init__(self, template: str, missing: tuple[str, ...] = (), unused: tuple[str, ...] = ()) -> None:
        super().__init__(template, missing, unused)
        self.template = template
        """Name of the template."""
        self.missing = missing
        """Variables that it has and was not given."""
        self.unused = unused
        """Variables that it was given and does not have."""

    def __str__(self) -> str:
        wrong = [
            f"{what} {', '.join(map(repr, names))}"
            for what, names in (("without", self.missing), ("with the unused", self.unused))
            if names
        ]
        return f"template {self.template!r} was filled {' and '.join(wrong)}; give exactly the variables that it has"


class UsageLimitError(StreamflowError):
    """A run has used more than it may.

    Args:
        what: What is limited: `tokens`, `cost_usd` or `calls`.
        limit: How much there may be.
        used: How much there was.
    """

    def __init__(self, what: str, limit: float, used: float) -> None:
        super().__init__(what, limit, used)
        self.what = what
        """What is limited."""
        self.limit = limit
        """How much there may be."""
        self.used = used
        """How much there was."""

    def __str__(self) -> str:
        return f"the run has used {self.used:g} {self.what}, more than {self.limit:g}; raise the limit, or ask for less"
