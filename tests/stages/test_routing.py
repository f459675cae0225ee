"""How a route chooses among its branches: the rules as pure functions. Semantics 4.15."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import AudioElement, ImageElement, MessageElement, StreamElement, TextElement
from streamflow.errors import RoutingError
from streamflow.stages import (
    any_in_turn,
    any_weighted,
    by_chance,
    first_that_applies,
    key_hash,
    name_given,
    nearest_among,
    nearest_type,
)

HELLO = TextElement("hello")

weights = st.lists(st.integers(1, 9), min_size=1, max_size=5)
branch_names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True)


class LoudElement(TextElement, frozen=True):
    """A subclass of the user's."""


class ShrillElement(LoudElement, frozen=True):
    """A subclass of that."""


def chosen(choose, count, gone=()):
    return [choose(HELLO, gone) for _ in range(count)]


def test_the_first_rule_that_applies_wins_and_those_behind_it_are_not_asked() -> None:
    """semantics 4.15: rules are tried in order."""
    asked = []

    def rule(name, answer):
        return lambda _: asked.append(name) or answer

    assert first_that_applies([rule("a", False), rule("b", "yes"), rule("c", True)])(HELLO, ()) == 1
    assert asked == ["a", "b"]
    assert first_that_applies([rule("a", None)])(HELLO, ()) is None


def test_the_nearest_type_wins_whatever_the_order() -> None:
    """semantics 4.15: by type, as a method is looked up: the own one, then the nearest base."""
    for types in ([TextElement, LoudElement, AudioElement], [AudioElement, LoudElement, TextElement]):
        choose = nearest_type(types)
        assert types[choose(TextElement("a"), ())] is TextElement
        assert types[choose(LoudElement("a"), ())] is LoudElement
        assert types[choose(ShrillElement("a"), ())] is LoudElement
        assert choose(ImageElement(url="x"), ()) is None
    assert nearest_type([StreamElement])(ImageElement(url="x"), ()) == 0


def test_types_without_end_are_forgotten() -> None:
    """semantics 4.15: a route holds no type for ever that somebody makes again and again."""
    nearest = nearest_among([MessageElement])
    assert {nearest(type(f"T{number}", (), {})) for number in range(1001)} == {None}
    assert nearest(MessageElement) == 0


@given(names=branch_names, keys=st.lists(st.one_of(st.text(), st.binary(), st.integers()), max_size=30))
def test_a_key_goes_one_way_whatever_the_order_of_the_branches(names, keys) -> None:
    """semantics 4.15: the way hangs on the key and on the names alone."""
    choose, turned = (key_hash(lambda key: key, order, "r") for order in (names, names[::-1]))
    for key in keys:
        assert names[choose(key, ())] == names[::-1][turned(key, ())] == names[choose(key, [0])]


def test_one_branch_more_moves_only_the_keys_that_it_gets() -> None:
    """semantics 4.15: consistent hashing: about its share of the keys, none between the others; and all get their share."""
    names = [f"shard-{number}" for number in range(10)]
    before, after = key_hash(str, names[:9], "r"), key_hash(str, names, "r")
    moved = [key for key in range(4000) if before(key, ()) != after(key, ())]

    assert {after(key, ()) for key in moved} == {9}
    assert 300 < len(moved) < 500
    shares = Counter(after(key, ()) for key in range(4000))
    assert len(shares) == 10
    assert all(300 < share < 500 for share in shares.values())


def test_a_key_goes_the_same_way_in_another_process() -> None:
    """semantics 4.15: no hash that differs between processes; the values are pinned, as data may lie where they say."""
    code = (
        "from streamflow.stages import key_hash\n"
        "choose = key_hash(lambda key: key, ['a', 'b', 'c', 'd'], 'r')\n"
        "print([choose(key, ()) for key in ['', 'user-1', 'user-2', b'user-1', 1, -1, 2**70]])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {"[3, 3, 2, 3, 0, 3, 0]\n"}


@pytest.mark.parametrize("key", [None, 1.5, ("a",)], ids=repr)
def test_what_does_not_hash_the_same_everywhere_is_no_key(key) -> None:
    """semantics 4.15: an error that names the route, and no guess."""
    with pytest.raises(RoutingError, match=r"r: the key .* give a string"):
        key_hash(lambda _: key, ["a"], "r")(HELLO, ())


def test_all_take_turns_and_those_that_have_gone_are_passed_over() -> None:
    """semantics 4.15: round robin; each run begins with the first."""
    assert chosen(any_in_turn(3), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert chosen(any_in_turn(3), 4, [1]) == [0, 2, 0, 2]
    assert set(chosen(any_in_turn(2), 4, [0, 1])) == {0, 1}


def test_weights_are_kept_exactly_and_spread_evenly() -> None:
    """semantics 4.15: smooth weighted round robin, as nginx has it."""
    assert chosen(any_weighted([5, 1, 1]), 7) == [0, 0, 1, 0, 2, 0, 0]
    assert chosen(any_weighted([3, 1]), 8) == [0, 0, 1, 0] * 2
    assert chosen(any_weighted([2, 1, 5]), 6, [2]) == [0, 1, 0] * 2
    assert len(chosen(any_weighted([1, 2]), 3, [0, 1])) == 3


@given(weights)
def test_in_each_round_each_is_chosen_as_often_as_its_weight_says(given_weights) -> None:
    """semantics 4.15: exact over each round, whatever the weights."""
    choose, total = any_weighted(given_weights), sum(given_weights)
    for _ in range(2):
        assert Counter(chosen(choose, total)) == dict(enumerate(given_weights))


def test_chance_is_the_same_with_the_same_seed_and_keeps_to_the_weights() -> None:
    """semantics 4.15: seeded; never one that has gone while another is there."""
    assert chosen(by_chance([1, 3], 7), 50) == chosen(by_chance([1, 3], 7), 50)
    assert chosen(by_chance([1, 3], 7), 50) != chosen(by_chance([1, 3], 8), 50)
    assert 150 < Counter(chosen(by_chance([1, 3], 7), 800))[0] < 250
    assert set(chosen(by_chance([1, 3, 2], None), 50, [1])) <= {0, 2}
    assert set(chosen(by_chance([1], None), 5, [0])) == {0}


def test_a_function_names_the_branch_or_none() -> None:
    """semantics 4.15: what is no name of a branch is an error that says which there are."""
    answers = iter(["b", None, "a", "z", 1])
    choose = name_given(lambda _: next(answers), ["a", "b", "a"], "x → (a, b)")
    assert [choose(HELLO, ()) for _ in range(3)] == [1, None, 0]
    for _ in range(2):
        with pytest.raises(RoutingError, match=r"route x → \(a, b\): .*'a', 'b', or None"):
            choose(HELLO, ())
