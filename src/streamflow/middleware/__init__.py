"""Legacy request/response middleware as a stage, unchanged.

Above: users. Below: `stages`, `elements`, `channels`. None of the packages whose middleware it runs is imported.
"""

from __future__ import annotations

from ._adapter import MiddlewareAdapter, wrap_middleware

__all__ = ["MiddlewareAdapter", "wrap_middleware"]
