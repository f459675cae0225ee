"""Templates and variables: strict, filled once, and nothing that anybody says is one. Semantics 21.1, 21.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow import ConfigError, Message, MessageElement, StageError, TextElement, TurnEnd
from streamflow.errors import TemplateError
from streamflow.runtime import PipelineBuilder
from streamflow.stages import PromptStage, RouteRule, RouteStage, Template, TemplateStage, VariablesStage
from streamflow.testing import run_stage


def said(elements):
    return [(one.message.role, one.message.text) for one in elements if isinstance(one, MessageElement)]


@given(value=st.text(max_size=30), other=st.text(max_size=30))
def test_a_value_is_never_read_as_a_template(value, other):
    """semantics 21.2: braces in a value are data, whatever else is filled in behind it."""
    assert Template("<{a}|{b}|{a}>").fill({"a": value, "b": other}) == f"<{value}|{other}|{value}>"


@pytest.mark.parametrize("value", ["{b}", "{{b}}", "{a}", "{0}", "{a.__class__}", "%(b)s", "\\1"])
def test_no_trick_in_a_value_works(value):
    """promptkit 4.3: variables in what users said were replaced there; here a value is put in letter by letter."""
    assert Template("{a}{b}").fill({"a": value, "b": "secret"}) == f"{value}secret"


def test_doubled_braces_are_braces():
    """semantics 21.2: a template can have JSON in it."""
    assert Template('{{"name": "{name}"}}').fill({"name": "Ada"}) == '{"name": "Ada"}'


def test_what_is_missing_or_unused_is_named_and_no_value_repeated():
    """semantics 21.2: never a silent default (promptkit 1.2 went on with one)."""
    with pytest.raises(TemplateError, match="'city', 'name'"):
        Template("{name} in {city}").fill({"name": None})
    assert Template("{name}").fill({"name": "Ada", "age": 7}) == "Ada"
    with pytest.raises(TemplateError, match="'age'") as caught:
        Template("{name}").fill({"name": "secret", "age": 7}, refuse_unused=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "}", "a {b", "{a b}", "{a.b}", "{a[0]}", "{a!r}", "{}", "{0}", "{a}}"])
def test_a_malformed_template_is_refused_at_once(text):
    """semantics 21.2: with the character; attributes and indices are no variables."""
    with pytest.raises(ConfigError, match="character"):
        Template(text)


async def test_users_say_no_templates():
    """promptkit 4.3: its template stage filled in what users had written; here messages come out as they came in."""
    message = MessageElement(Message("user", "{name} {{x}}")).with_metadata(variables={"name": "Ada"}).replace(id="m1")
    got = await run_stage(TemplateStage("You help {name}."), [message, TurnEnd()])
    assert said(got) == [("system", "You help Ada."), ("user", "{name} {{x}}")]
    assert got[1] == message


async def test_a_missing_variable_ends_the_turn_with_its_name():
    """semantics 21.2: an error, not a prompt with a hole."""
    with pytest.raises((StageError, TemplateError)) as caught:
        await run_stage(TemplateStage("You help {name}."), [TextElement("hi")])
    assert "'name'" in str(caught.value.__cause__ or caught.value)


async def test_variables_come_from_dicts_functions_and_the_run():
    """semantics 21.1: later ones win; functions see the dependencies of the run and the message."""

    async def later(run, message):
        return {"asked": message.message.text, "plan": run.deps["plan"]}

    pipeline = (
        PipelineBuilder()
        .chain(
            RouteStage([RouteRule("sales", ["buy"])]),
            VariablesStage({"plan": "none", "name": "Ada"}, later),
            TemplateStage({"general": "G", "sales": "Sell {plan} to {name}: {asked}"}),
        )
        .build()
    )
    result = await pipeline.run([TextElement("buy {name}"), TurnEnd(), TextElement("hello")], deps={"plan": "gold"})
    assert said(result.elements) == [
        ("system", "Sell gold to Ada: buy {name}"),
        ("user", "buy {name}"),
        ("system", "G"),
        ("user", "hello"),
    ]
    assert result.elements[0].metadata["route"] == "sales"


async def test_a_template_is_filled_once_for_a_turn():
    """promptkit 4.3 (its #1035): 2,000 rows of history were 2,001 renderings."""
    calls = []
    history = [MessageElement(Message("user", f"row {number}")) for number in range(200)]
    stage = VariablesStage(lambda _run, message: calls.append(message) or {"n": 1})
    got = await run_stage(stage, history)
    assert len(got) == 200
    assert [one.message.text for one in calls] == ["row 199"]
    assert [one.metadata for one in got].count(got[0].metadata) == 199


async def test_a_prompt_has_parts_from_several_sources_in_order():
    """semantics 21.1: behind the system message of the route; one that says nothing adds nothing."""

    async def later(_run, message):
        return f"about: {message.message.text}"

    got = await run_stage(
        PromptStage("S", parts=["first {x}", lambda _run, _message: None, later]), [TextElement("hi")]
    )
    assert said(got) == [("system", "S"), ("system", "first {x}"), ("system", "about: hi"), ("user", "hi")]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (VariablesStage, "sources"),
        (lambda: VariablesStage("x"), "sources[0]"),
        (lambda: TemplateStage({"sales": "x"}), "default_route"),
        (lambda: TemplateStage("{"), "text"),
        (lambda: Template(7), "text"),
        (lambda: PromptStage("x", parts="y"), "parts"),
        (lambda: PromptStage("x", parts=[7]), "parts[0]"),
    ],
    ids=map(str, range(7)),
)
def test_a_bad_argument_is_refused_at_once_and_by_name(make, field):
    """semantics 21.2: the field that is wrong is named."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field
