"""W3C trace context: read strictly, written as it is read; and who is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import ConfigError
from streamflow.observe import TraceContext, TraceSink, Tracing, decide, ratio_based

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_traceparent_is_read(header: str, sampled: bool) -> None:
    """semantics 24.15: of a later version, what is known of it."""
    found = TraceContext.parse(header)

    assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, sampled)
    assert found.traceparent == f"00-{TRACE}-{SPAN}-{int(sampled):02}"
    assert found.headers() == {"traceparent": found.traceparent}


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0\u0661",
    ],
)
def test_a_malformed_traceparent_is_refused_and_as_a_header_it_says_nothing(header: str) -> None:
    """semantics 24.15: strictly, as the standard asks: no upper case, no zeros, nothing behind."""
    with pytest.raises(ConfigError, match="traceparent"):
        TraceContext.parse(header)
    if not header.endswith("\n"):
        assert TraceContext.from_headers({"traceparent": header}) is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1", "a=1"),
        ("a=1, b=2,,c=3", "a=1,b=2,c=3"),
        ("fw529a3039@dt=FfYsNwUT", "fw529a3039@dt=FfYsNwUT"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=x=y", ""),
        ("a=\u00e9", ""),
        (",".join(f"k{one}=1" for one in range(33)), ""),
        ("a=" + "x" * 600, ""),
    ],
)
def test_a_tracestate_is_kept_whole_or_left_out(state: str, kept: str) -> None:
    """semantics 24.15: a malformed one does not cost the trace."""
    found = TraceContext.from_headers({"TraceParent": f" 00-{TRACE}-{SPAN}-01", "TRACESTATE": state})

    assert found is not None
    assert found.state == kept
    assert found.headers(state=True).get("tracestate", "") == kept


@given(
    st.dictionaries(
        st.sampled_from(["traceparent", "tracestate", "other"]), st.text("0123456789abcdef-=,@ AZ\u00e9", max_size=60)
    )
)
def test_what_a_peer_has_written_never_raises(headers: dict[str, str]) -> None:
    """semantics 24.15: and what is read, is read again from what is written."""
    found = TraceContext.from_headers(headers)

    assert found is None or TraceContext.from_headers(found.headers(state=True)) == found


@pytest.mark.parametrize(
    "ids", [("x", SPAN), (TRACE, "0" * 16), (TRACE, SPAN, True, "A=1")], ids=["trace", "span", "state"]
)
def test_a_context_is_made_of_ids(ids: tuple) -> None:
    """semantics 24.15: wrong ones are refused where they are made."""
    with pytest.raises(ConfigError):
        TraceContext(*ids)


@given(st.integers(1, 2**128 - 1), st.floats(0, 1))
def test_a_share_keeps_a_trace_in_every_process_or_in_none(trace_id: int, ratio: float) -> None:
    """semantics 24.14: by the id alone, and a larger share keeps all that a smaller one keeps."""
    assert decide(ratio, trace_id, None) == ratio_based(ratio)(trace_id, None)
    assert decide(1.0, trace_id, None)
    assert not decide(0.0, trace_id, None)
    assert not ratio_based(ratio / 2)(trace_id, None) or ratio_based(ratio)(trace_id, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample", "sometimes"),
        ("sample", 1.5),
        ("sample", True),
        ("elements", -1),
        ("keep", 0),
        ("max_links", "many"),
        ("sinks", (print,)),
        ("redact", str.upper),
    ],
)
def test_a_wrong_setting_of_tracing_is_named(field: str, value: object) -> None:
    """semantics 24.14: at once, with the field."""
    with pytest.raises(ConfigError) as caught:
        Tracing(**{field: value})

    assert caught.value.field == field
    assert Tracing(sinks=(TraceSink(),)).of_elements == "parent"
