"""`Metadata`: read-only all the way down, and JSON only."""

import copy
import enum
import json
import pickle

import pytest

from streamflow.elements import EMPTY_METADATA, Metadata, TextElement, freeze, thaw
from streamflow.errors import DecodeError, ElementError


class Colour(enum.StrEnum):
    RED = "red"


def test_what_the_maker_changes_later_does_not_reach_the_metadata():
    """semantics 1.2: metadata is a copy, nested values included."""
    given = {"list": [1], "dict": {"a": 1}}
    frozen = Metadata(given)
    given["list"].append(2)
    given["dict"]["a"] = 2
    given["new"] = 3

    assert frozen == {"list": [1], "dict": {"a": 1}}


def test_no_part_of_it_can_be_changed():
    """semantics 1.2: no branch can corrupt another, not even through a nested value."""
    frozen = Metadata({"list": [1], "dict": {"a": 1}})

    with pytest.raises(TypeError):
        frozen["x"] = 1
    with pytest.raises(TypeError):
        del frozen["list"]
    with pytest.raises(TypeError):
        frozen["dict"]["a"] = 2
    with pytest.raises(TypeError):
        frozen["list"][0] = 2
    with pytest.raises(AttributeError):
        frozen._items = {}
    with pytest.raises(AttributeError):
        del frozen._items
    assert not hasattr(frozen, "__dict__")


def test_it_reads_like_a_mapping_and_keeps_its_order():
    """`Metadata` is a `Mapping`: the usual ways to read work."""
    frozen = Metadata({"b": 1, "a": 2})

    assert list(frozen) == ["b", "a"]
    assert len(frozen) == 2
    assert "a" in frozen
    assert "c" not in frozen
    assert frozen.get("c", 5) == 5
    assert {**frozen} == {"b": 1, "a": 2}
    with pytest.raises(KeyError):
        frozen["c"]


def test_it_equals_every_mapping_with_the_same_content():
    """Equality is over the content: a dict with lists equals the frozen form of itself."""
    frozen = Metadata({"a": [1, {"b": [2]}], "c": None})

    assert frozen == {"c": None, "a": [1, {"b": [2]}]}
    assert frozen == Metadata({"c": None, "a": (1, {"b": (2,)})})
    assert frozen != {"a": [1]}
    assert frozen != {"a": object()}
    assert frozen != [("a", 1)]


def test_equal_metadata_has_equal_hashes():
    """Elements are hashable, so metadata is: equal ones in any order have one hash."""
    one, other = Metadata({"a": [1], "b": {"c": 2}}), Metadata({"b": {"c": 2}, "a": [1]})

    assert hash(one) == hash(other) == hash(one)
    assert len({one, other, Metadata({"a": [2]})}) == 2


def test_there_is_one_empty_metadata():
    """semantics 1.2: the default is one shared empty mapping."""
    assert Metadata() is EMPTY_METADATA
    assert Metadata({}) is EMPTY_METADATA
    assert pickle.loads(pickle.dumps(EMPTY_METADATA)) is EMPTY_METADATA
    assert TextElement("a").metadata is TextElement("b").metadata is EMPTY_METADATA
    assert hash(EMPTY_METADATA) == hash(Metadata({}))


def test_merging_makes_a_new_mapping():
    """`merged` and `|` lay values over, and leave both sides as they are."""
    base = Metadata({"a": 1, "b": {"x": 1}})
    merged = base.merged({"b": {"y": 2}, "c": [3]})

    assert merged == {"a": 1, "b": {"y": 2}, "c": [3]}
    assert base == {"a": 1, "b": {"x": 1}}
    assert base | {"c": [3], "b": {"y": 2}} == merged
    assert base.merged({}) is base
    assert Metadata(base) is base


def test_pickle_copy_and_deepcopy_keep_the_value():
    """Metadata crosses processes, and copies share it because it cannot change."""
    frozen = Metadata({"a": [1, {"b": None}]})

    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen


def test_a_plain_copy_is_plain_all_the_way_down():
    """`to_dict` and `thaw` give what `json.dumps` and tools expect, and what the caller may change."""
    frozen = Metadata({"a": [1, {"b": [2]}]})
    plain = frozen.to_dict()

    assert json.dumps(plain) == '{"a": [1, {"b": [2]}]}'
    plain["a"].append(3)
    assert frozen == {"a": [1, {"b": [2]}]}
    assert thaw((1, Metadata({"a": (2,)}))) == [1, {"a": [2]}]
    assert repr(frozen) == "Metadata({'a': [1, {'b': [2]}]})"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": object()}, "metadata.a: object is no JSON value"),
        ({"a": [0, {"b": b"raw"}]}, "metadata.a[1].b: bytes is no JSON value"),
        ({"two words": {1: 2}}, 'metadata["two words"]: the key 1 is no text'),
        ({"a": [float("nan")]}, "metadata.a[0]: nan is no JSON number"),
        ({"a": float("-inf")}, "metadata.a: -inf is no JSON number"),
        ({"a": 2**64}, "metadata.a: an integer beyond 64 bits"),
        ({"a": -(2**63) - 1}, "metadata.a: an integer beyond 64 bits"),
        ({"a": {1, 2}}, "metadata.a: set is no JSON value"),
        ([1], "metadata: expected a mapping, got list"),
    ],
)
def test_what_is_not_json_is_refused_with_its_key_path(value, path):
    """semantics 1.2: JSON values only; the error says where."""
    with pytest.raises(ElementError) as caught:
        Metadata(value)

    assert str(caught.value).startswith(path)
    assert not isinstance(caught.value, DecodeError)


def test_a_value_that_contains_itself_is_an_error_and_no_recursion():
    """A cycle ends at the depth limit."""
    cycle = {}
    cycle["self"] = cycle

    with pytest.raises(ElementError, match=r"nested deeper than 100 levels, or a cycle"):
        Metadata(cycle)


def test_subclasses_of_json_types_become_those_types():
    """An enum member or a bool-like number is stored as the plain value that decoding would give."""
    frozen = Metadata({"a": Colour.RED, Colour.RED: True})

    assert type(frozen["a"]) is str
    assert {type(key) for key in frozen} == {str}
    assert frozen["red"] is True


def test_freezing_a_frozen_value_gives_it_back():
    """`freeze` is idempotent."""
    value = freeze({"a": [1, {"b": 2}]})

    assert freeze(value) is value
    assert freeze([value]) == (value,)
