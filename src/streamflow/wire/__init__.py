"""Bytes to events and back: wire formats that wait for nothing.

Above: `providers`, `transports`. Below: `elements`, `errors`.
"""

from ._anthropic_calls import AnthropicToolCalls
from ._chat_calls import ChatToolCalls
from ._http1 import HTTPHead, HTTPResponseReader
from ._json_paths import is_selected, show_path
from ._json_reader import JsonField, JsonTree
from ._json_stream import JsonStream
from ._responses_calls import ResponsesToolCalls
from ._sse import SSEEvent, SSEParser, encode_comment, encode_event
from ._tool_calls import ToolCallPiece, parse_arguments

__all__ = [
    "AnthropicToolCalls",
    "ChatToolCalls",
    "HTTPHead",
    "HTTPResponseReader",
    "JsonField",
    "JsonStream",
    "JsonTree",
    "ResponsesToolCalls",
    "SSEEvent",
    "SSEParser",
    "ToolCallPiece",
    "encode_comment",
    "encode_event",
    "is_selected",
    "parse_arguments",
    "show_path",
]
