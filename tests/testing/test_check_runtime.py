"""`check_runtime()`: our own runtime on trial, and what a report of it says."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from streamflow.errors import ConfigError
from streamflow.testing import check_runtime
from streamflow.testing._conformance import rules_of
from streamflow.testing._runtime_graphs import cut_short, whole
from streamflow.testing._trial import Ending, account_wrong, run_graph
from streamflow.testing._trial_graphs import Fan, TrialGraph, draw_graph, steps_of
from streamflow.testing._trial_reference import differences, flow_of

EFFORT = int(os.environ.get("CONFORMANCE_EFFORT", "1"))
"""How many times the usual number of random examples; `make conformance` asks for more."""

RULES = [one.id for one in rules_of("runtime")]

graphs = st.builds(draw_graph, st.randoms(use_true_random=False), most=st.integers(1, 12))


@pytest.mark.slow
@pytest.mark.timeout(60 * EFFORT)
@pytest.mark.parametrize("rule", RULES)
def test_our_runtime_keeps_every_rule(rule: str) -> None:
    """Issue 5, 3: random graphs, endings, failures and changes that must not matter, on both event loops."""
    report = check_runtime(rules=[rule], examples=20, effort=EFFORT)
    assert {one.variant.backend for one in (*report.passed, *report.skipped)} == {"asyncio", "trio"}
    assert report.passed


@given(graphs)
async def test_a_graph_of_any_forks_and_joins_gives_what_its_reference_says(drawn: TrialGraph) -> None:
    """semantics 4.6, 4.15–4.27: with a shrinking search, and the account of each edge."""
    event(drawn.blocks[0].how if isinstance(drawn.blocks[0], Fan) else type(drawn.blocks[0]).__name__)
    seen = await run_graph(drawn, watched=True)
    assert whole(drawn, seen) is None
    assert account_wrong(seen, ended=True) is None


@given(graphs, st.sampled_from(["cancel", "break"]), st.integers(0, 40))
async def test_a_graph_that_is_left_early_leaves_nothing_behind(drawn: TrialGraph, how: str, after: int) -> None:
    """semantics 5.1, 7.1: with a shrinking search."""
    seen = await run_graph(drawn, watched=True, ending=Ending(how, after))
    assert cut_short(drawn, seen) is None
    assert account_wrong(seen, ended=False) is None


def test_the_same_seed_draws_the_same_graph() -> None:
    """What a report shows can be had again."""
    first, again = (str(draw_graph(random.Random(7), most=12)) for _ in range(2))
    assert first == again
    assert len({str(draw_graph(random.Random(seed))) for seed in range(50)}) == 50


def test_a_graph_has_no_more_stages_than_it_may_but_for_what_closes_it() -> None:
    """The largest graphs have about `most` stages."""
    sizes = [len([*steps_of(draw_graph(random.Random(seed), most=12).blocks)]) for seed in range(200)]
    assert 8 <= max(sizes) <= 16


@pytest.mark.parametrize("wrong", ["lost", "twice", "order"])
def test_the_reference_finds_what_is_wrong(wrong: str) -> None:
    """What judges can fail: an element less, one twice, two in the other order."""
    drawn = TrialGraph((), (3,))
    right = [(0, "0"), (0, "1"), (0, "2")]
    assert differences(flow_of(drawn), right) is None
    got = {"lost": right[:2], "twice": [*right, right[0]], "order": right[::-1]}[wrong]
    assert differences(flow_of(drawn), got) is not None


def test_an_unknown_rule_is_refused() -> None:
    """A typing error in an id would check nothing."""
    with pytest.raises(ConfigError, match="RT-99"):
        check_runtime(rules=["RT-99"])
