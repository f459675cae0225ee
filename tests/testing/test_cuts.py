"""The strategies for JSON that comes in pieces."""

from __future__ import annotations

import json

from hypothesis import event, given

from streamflow.testing import json_byte_cuts, json_cuts


@given(json_cuts())
def test_pieces_of_text_are_the_text(drawn) -> None:
    """testing.json_cuts: joined, they are a JSON text of the value."""
    value, pieces = drawn
    event(f"{len(pieces)} pieces")
    assert json.loads("".join(pieces)) == value


@given(json_byte_cuts())
def test_pieces_of_bytes_are_the_bytes(drawn) -> None:
    """testing.json_byte_cuts: cut inside characters too."""
    value, pieces = drawn
    try:
        [piece.decode() for piece in pieces]
    except UnicodeDecodeError:
        event("cut inside a character")
    assert json.loads(b"".join(pieces)) == value
