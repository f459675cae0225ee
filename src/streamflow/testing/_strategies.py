"""Hypothesis strategies for elements, messages and metadata, to test your own stages with.

Above: your tests. Below: `elements`. The only module here that imports Hypothesis.
Rules: everything drawn can be encoded in both formats and equals what is decoded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from hypothesis import strategies as st

from ..elements import (
    AudioElement,
    AudioFormat,
    AudioPart,
    BatchElement,
    DataElement,
    DataPart,
    DeadLetterElement,
    EndOfStream,
    EndReason,
    ErrorElement,
    FilePart,
    ImageElement,
    ImagePart,
    Interrupt,
    JsonValue,
    Message,
    MessageElement,
    Metadata,
    Part,
    Priority,
    Role,
    RunTotals,
    StopReason,
    StreamElement,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    ToolCallPart,
    ToolResultElement,
    ToolResultPart,
    ToolStatus,
    TurnEnd,
    TurnReset,
    TurnStart,
    Usage,
    UsageElement,
    VideoElement,
    VideoPart,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_SHORT: Final = st.text(max_size=8)
_MAYBE: Final = st.none() | _SHORT
_BYTES: Final = st.binary(max_size=64)
_INDEX: Final = st.integers(0, 1000)
_COUNT: Final = st.none() | st.integers(0, 10**9)
_SIZE: Final = st.none() | st.integers(1, 8192)
_SECONDS: Final = st.none() | st.floats(0, 1e6)
_NUMBERS: Final = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)


def json_values(*, max_leaves: int = 8) -> SearchStrategy[JsonValue]:
    """Draw JSON values as a maker would give them: plain dicts and lists, at most `max_leaves` leaves."""
    leaves: SearchStrategy[JsonValue] = st.none() | st.booleans() | _NUMBERS | _SHORT
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SHORT, inner, max_size=3),
        max_leaves=max_leaves,
    )


def json_objects(*, max_leaves: int = 8) -> SearchStrategy[dict[str, JsonValue]]:
    """Draw plain dicts of JSON values."""
    return st.dictionaries(_SHORT, json_values(max_leaves=max_leaves), max_size=3)


def metadata() -> SearchStrategy[Metadata]:
    """Draw metadata, the empty one included."""
    return st.builds(Metadata, json_objects(max_leaves=4))


def _media(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """Draw keywords for media: its bytes or its address, and not both."""
    has_data = st.fixed_dictionaries({"data": _BYTES}, optional=fields)
    has_url = st.fixed_dictionaries({"url": _SHORT}, optional=fields)
    return has_data | has_url


def _content_parts() -> list[SearchStrategy[Any]]:
    sound = {
        "format": st.sampled_from(get_args(AudioFormat)),
        "sample_rate": _SIZE,
        "channels": _SIZE,
        "transcript": _MAYBE,
    }
    return [
        st.builds(TextPart, _SHORT),
        _media(mime=_MAYBE).map(lambda given: ImagePart(**given)),
        _media(**sound).map(lambda given: AudioPart(**given)),
        _media(mime=_MAYBE).map(lambda given: VideoPart(**given)),
        _media(mime=_MAYBE, name=_MAYBE).map(lambda given: FilePart(**given)),
        st.builds(DataPart, _SHORT, json_values()),
    ]


def parts() -> SearchStrategy[Part]:
    """Draw message parts of every type."""
    return st.one_of(
        *_content_parts(),
        st.builds(ThinkingPart, _SHORT, _MAYBE, _MAYBE),
        st.builds(ToolCallPart, _SHORT, _SHORT, json_objects(), _SHORT),
        st.builds(ToolResultPart, _SHORT, _tool_content(), _SHORT, st.sampled_from(get_args(ToolStatus))),
    )


def _tool_content() -> SearchStrategy[Any]:
    return _SHORT | st.lists(st.one_of(*_content_parts()), max_size=3)


def messages() -> SearchStrategy[Message]:
    """Draw messages whose content is text, or parts of every type."""
    return st.builds(
        Message,
        st.sampled_from(get_args(Role)),
        _SHORT | st.lists(parts(), max_size=3),
        id=_SHORT,
        name=_MAYBE,
        stop_reason=st.none() | st.sampled_from(get_args(StopReason)),
        metadata=metadata(),
    )


def usages() -> SearchStrategy[Usage]:
    """Draw what model calls used, with numbers that a provider may leave out."""
    return st.builds(
        Usage,
        input_tokens=_COUNT,
        output_tokens=_COUNT,
        cached_tokens=_COUNT,
        cache_write_tokens=_COUNT,
        reasoning_tokens=_COUNT,
        cost_usd=st.none() | st.integers(0, 10**6).map(float),
        model=st.sampled_from([None, "small", "large"]),
        provider=st.sampled_from([None, "here", "there"]),
        estimated=st.booleans(),
    )


def _header(*, plain: bool) -> dict[str, SearchStrategy[Any]]:
    if plain:
        return {}
    return {
        "id": _SHORT,
        "metadata": metadata(),
        "priority": st.sampled_from(Priority),
        "interruptible": st.booleans(),
        "timestamp_s": _SECONDS,
    }


def text_elements(*, min_size: int = 0, plain: bool = False) -> SearchStrategy[TextElement]:
    """Draw text fragments.

    Args:
        min_size: Fewest characters of one.
        plain: Draw the text alone, and leave the header as it is by default.
    """
    return st.builds(TextElement, st.text(min_size=min_size, max_size=max(8, min_size)), **_header(plain=plain))


def data_elements() -> SearchStrategy[StreamElement]:
    """Draw data elements of every built-in type, with every header; items of a batch are data too, batches among them."""
    return st.recursive(_single_elements(), _batches, max_leaves=3)


def _batches(items: SearchStrategy[StreamElement]) -> SearchStrategy[StreamElement]:
    several, count = st.lists(items, max_size=3), st.integers(1, 9)
    letter = st.builds(
        DeadLetterElement, several, _SHORT, _SHORT, _SHORT, st.none() | _INDEX, count, **_header(plain=False)
    )
    return st.builds(BatchElement, several, **_header(plain=False)) | letter


def _single_elements() -> SearchStrategy[StreamElement]:
    header = _header(plain=False)
    size = {"width": _SIZE, "height": _SIZE}
    path = st.lists(_SHORT | _INDEX, max_size=3).map(tuple)
    image = _media(mime=_MAYBE, **size, **header).map(lambda given: ImageElement(**given))
    video = _media(mime=_MAYBE, **size, key_frame=st.booleans(), **header).map(lambda given: VideoElement(**given))
    rates = st.sampled_from([8000, 16000, 24000, 48000])
    sound = st.sampled_from(get_args(AudioFormat))
    status = st.sampled_from(get_args(ToolStatus))
    return st.one_of(
        st.builds(TextElement, _SHORT, path=path, **header),
        st.builds(ThinkingElement, _SHORT, _MAYBE, **header),
        st.builds(AudioElement, _BYTES, rates, st.integers(1, 2), sound, text=_MAYBE, **header),
        image,
        video,
        st.builds(MessageElement, messages(), cut=st.booleans(), **header),
        st.builds(ToolCallDelta, _SHORT, _SHORT, _SHORT, _INDEX, **header),
        st.builds(ToolCallElement, _SHORT, _SHORT, json_objects(), _SHORT, _MAYBE, _INDEX, **header),
        st.builds(ToolResultElement, _SHORT, _SHORT, _tool_content(), status, st.booleans(), **header),
        st.builds(DataElement, _SHORT, json_values(), st.booleans(), **header),
    )


def control_elements() -> SearchStrategy[StreamElement]:
    """Draw control elements of every built-in type, with every header.

    `EndOfStream` is among them, which a run alone may send: leave it out of what you feed to a stage.
    """
    header = _header(plain=False)
    stop = st.sampled_from(get_args(StopReason))
    pending = st.lists(_SHORT, max_size=3).map(tuple)
    totals = st.builds(RunTotals, elements=_INDEX, errors=_INDEX, usage=st.none() | usages(), duration_s=_SECONDS)
    return st.one_of(
        st.builds(UsageElement, usages(), final=st.booleans(), **header),
        st.builds(TurnStart, _INDEX, **header),
        st.builds(TurnEnd, stop, _INDEX, pending, **header),
        st.builds(TurnReset, _SHORT, _INDEX, _SHORT, **header),
        st.builds(Interrupt, _SHORT, **header),
        st.builds(ErrorElement, _SHORT, _SHORT, _MAYBE, st.booleans(), st.booleans(), **header),
        st.builds(EndOfStream, st.sampled_from(get_args(EndReason)), totals, **header),
    )


def elements() -> SearchStrategy[StreamElement]:
    """Draw elements of every built-in type, data and control."""
    return data_elements() | control_elements()
