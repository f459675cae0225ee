"""Bytes to events and back: wire formats that wait for nothing.

Above: `providers`, `transports`. Below: `elements`, `errors`.
"""

from ._sse import SSEEvent, SSEParser, encode_event

__all__ = ["SSEEvent", "SSEParser", "encode_event"]
