"""Objects of half a document, for both kinds of models."""

import json
from typing import Annotated, Literal

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import ConfigError
from streamflow.wire import JsonStream


class Slot(msgspec.Struct):
    message: Annotated[str, msgspec.Meta(min_length=5)]
    kind: Literal["chips", "bar"]
    options: list[str] = []
    weight: float | None = None


class Classification(msgspec.Struct, rename="camel"):
    route_name: str
    ask_slots: list[Slot]
    count: int
    by_name: dict[str, Slot] | None = None
    inside: "Classification | None" = None


class PSlot(pydantic.BaseModel):
    message: Annotated[str, pydantic.Field(min_length=5)]
    kind: Literal["chips", "bar"]
    options: list[str] = []
    weight: float | None = None


class PClassification(pydantic.BaseModel):
    route_name: str = pydantic.Field(alias="routeName")
    ask_slots: list[PSlot] = pydantic.Field(alias="askSlots", min_length=1)
    count: int
    by_name: dict[str, PSlot] | None = pydantic.Field(None, alias="byName")
    inside: "PClassification | None" = None


MODELS = [Classification, PClassification]
WHOLE = {
    "routeName": "product",
    "askSlots": [{"message": "What size?", "kind": "chips", "options": ["S", "L"]}],
    "count": 12,
    "byName": {"one": {"message": "Hello you", "kind": "bar", "weight": 1.5}},
    "inside": {"routeName": "inner"},
}


def fields(one):
    """Return the fields of an object and of those inside it as plain values."""
    if isinstance(one, msgspec.Struct):
        return {name: fields(getattr(one, name)) for name in one.__struct_fields__}
    if isinstance(one, pydantic.BaseModel):
        return {name: fields(getattr(one, name)) for name in type(one).model_fields}
    if isinstance(one, list):
        return [fields(item) for item in one]
    if isinstance(one, dict):
        return {key: fields(value) for key, value in one.items()}
    return one


@pytest.mark.parametrize("model", MODELS)
@given(size=st.integers(1, 60))
def test_an_object_grows_with_its_document(model, size):
    """semantics 17.3: nothing is required, texts grow, numbers and choices appear once they are certain."""
    text, stream = json.dumps(WHOLE), JsonStream()
    seen = []
    for at in range(0, len(text), size):
        stream.feed(text[at : at + size])
        seen.append(fields(stream.partial(model)))

    assert seen[-1] == {
        "route_name": "product",
        "ask_slots": [{"message": "What size?", "kind": "chips", "options": ["S", "L"], "weight": None}],
        "count": 12,
        "by_name": {"one": {"message": "Hello you", "kind": "bar", "options": [], "weight": 1.5}},
        "inside": {"routeName": "inner"},  # a model inside itself is a dict
    }
    for one in seen:
        assert "product".startswith(one["route_name"] or "")
        assert one["count"] in {None, 12}
        for slot in one["ask_slots"] or []:
            assert "What size?".startswith(slot["message"] or "")
            assert slot["kind"] in {None, "chips"}


@pytest.mark.parametrize("model", MODELS)
def test_an_object_is_made_once_between_two_pieces(model):
    """semantics 17.3: looking often costs nothing."""
    stream = JsonStream()
    stream.feed('{"routeName": "pro')
    first = stream.partial(model)

    assert (first.route_name, first is stream.partial(model)) == ("pro", True)
    stream.feed("duct")
    assert stream.partial(model).route_name == "product"
    assert stream.value == {}


@pytest.mark.parametrize("model", MODELS)
def test_what_does_not_fit_leaves_the_last_object_that_did(model):
    """semantics 17.3: half a document is shown as far as it goes; the model's own decoder judges the whole."""
    stream = JsonStream()
    assert stream.partial(model) is None
    stream.feed('{"routeName": "product"')
    assert stream.partial(model).route_name == "product"
    stream.feed(', "count": []')
    assert stream.partial(model).route_name == "product"
    rest = JsonStream()
    rest.feed("[1]")
    assert rest.partial(model) is None


@pytest.mark.parametrize("model", [dict, int, "Classification", None, []], ids=str)
def test_other_types_are_refused(model):
    """semantics 17.3: at once, and with what to give."""
    with pytest.raises(ConfigError, match=r"msgspec\.Struct"):
        JsonStream().partial(model)
