"""Tools: what a model is told of them, and how what it sends is read."""

import dataclasses
import enum
import json
from typing import Annotated, Literal

import anyio
import msgspec
import pydantic
import pytest

from streamflow.agents import Tool, ToolContext, Tools, tool
from streamflow.agents._arguments import ArgumentsError
from streamflow.agents._content import capped, content_of
from streamflow.elements import DataPart, ImagePart, TextPart, ToolCallElement
from streamflow.errors import ConfigError, ToolError
from streamflow.providers import ToolSpec


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Item(msgspec.Struct):
    name: str
    count: int = 1


class Place(pydantic.BaseModel):
    city: str
    country: str | None = None


@dataclasses.dataclass
class Point:
    x: float
    y: float


def context(name: str = "t", **options) -> ToolContext[object]:
    async def send(element) -> None:
        options.setdefault("seen", []).append(element)

    return ToolContext(ToolCallElement("c1", name), options.get("deps"), send)


async def call(one: Tool, /, **args):
    return await one.run(ToolCallElement("c1", one.name, args).args, context(one.name))  # as an agent has them


def test_the_schema_is_that_of_the_signature_and_the_docstring():
    """semantics 20.1: types, defaults, choices and texts of a function are what the model is told."""

    def forecast(city: str, days: int = 1, unit: Unit = Unit.C, mode: Literal["short", "long"] | None = None) -> str:
        """Say what the weather will be.

        Only for Europe.

        Args:
            city: Name of the city,
                in English.
            days (int): How many days ahead.
            unit: Which degrees.
            mode: How long a sentence.

        Returns:
            A sentence.
        """

    spec = tool(forecast).spec
    properties = spec.parameters["properties"]

    assert spec.name == "forecast"
    assert spec.description == "Say what the weather will be.\n\nOnly for Europe."
    assert spec.parameters["required"] == ["city"]
    assert properties["city"] == {"type": "string", "description": "Name of the city, in English."}
    assert properties["days"] == {"type": "integer", "description": "How many days ahead.", "default": 1}
    assert spec.parameters["$defs"]["Unit"]["enum"] == ["celsius", "fahrenheit"]
    assert ["short", "long"] in [one.get("enum") for one in properties["mode"]["anyOf"]]
    assert spec.parameters["additionalProperties"] is False


async def test_arguments_reach_the_function_as_the_types_it_names():
    """semantics 20.1: models, Structs, dataclasses, enums and what is nested in them; defaults are the function's own."""
    seen = []

    @tool
    async def with_models(
        place: Place,
        points: list[Point],
        unit: Unit,
        schema: str = "s",
        note: list[str] = [],  # noqa: B006
        *,
        rest: dict[str, object] = {},  # noqa: B006
    ) -> None:
        seen.append((place, points, unit, schema, note, json.dumps(rest)))

    @tool
    def with_structs(items: list[Item], limit: Annotated[int, msgspec.Meta(ge=1)] = 3, tags: list[str] = []) -> None:  # noqa: B006
        seen.append((items, limit, tags))

    await call(with_models, place={"city": "Rome"}, points=[{"x": 1, "y": 2}], unit="celsius", rest={"a": [{"b": 1}]})
    await call(with_structs, items=[{"name": "a"}, {"name": "b", "count": 2}])

    assert seen == [
        (Place(city="Rome"), [Point(1, 2)], Unit.C, "s", [], '{"a": [{"b": 1}]}'),
        ([Item("a"), Item("b", 2)], 3, []),
    ]


@pytest.mark.parametrize("kind", [Place, Item, Point])
async def test_a_type_can_be_all_arguments(kind):
    """semantics 20.1: with `args=` the fields of a model are the arguments, and the function gets an instance."""
    given = {Place: {"city": "Rome"}, Item: {"name": "a"}, Point: {"x": 1.0, "y": 2.0}}[kind]

    @tool(args=kind)
    async def take(one, run: ToolContext[object]):
        return one, run.call_id

    assert set(take.spec.parameters["properties"]) >= set(given)
    assert "title" not in take.spec.parameters
    assert await call(take, **given) == (kind(**given), "c1")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "$.city"),
        ({"city": "Rome", "points": [{"x": 1, "y": "far"}]}, "$.points[0].y"),
        ({"city": "Rome", "more": 1}, "$.more"),
    ],
)
async def test_a_mistake_is_told_with_its_path_and_without_its_value(args, told):
    """semantics 20.1: the model learns where it was wrong; what it sent is not repeated."""

    @tool
    async def go(city: str, points: list[Point] = []) -> None:  # noqa: B006
        raise AssertionError("must not run")

    with pytest.raises(ArgumentsError) as raised:
        await call(go, **args)

    assert told in str(raised.value)
    assert "far" not in str(raised.value)


def no_annotation(city):
    """Has none."""


def many(*cities: str):
    """Has no names."""


def unknown(city: "Nowhere"):  # noqa: F821
    """Names what is not there."""


def wrong_docstring(city: str):
    """Describe another one.

    Args:
        town: Not there.
        city: There.
    """


class HasMethod:
    def look_up(self, city: str) -> str:
        """Look a city up."""
        return city


class Opaque:
    pass


def opaque(one: Opaque):
    """Take what no JSON can hold."""


@pytest.mark.parametrize(
    ("func", "told"),
    [
        (no_annotation, "'city' has no annotation"),
        (HasMethod.look_up, "tool(thing.method)"),
        (many, "'cities'"),
        (unknown, "Nowhere"),
        (wrong_docstring, "'town', which is no parameter"),
        (opaque, "parameter 'one' of type <class"),
    ],
)
def test_what_cannot_be_described_is_refused_where_the_tool_is_made(func, told):
    """semantics 20.1: a clear error at decoration, and not when a model calls."""
    with pytest.raises(ConfigError) as raised:
        tool(func)

    assert told in str(raised.value)
    assert func.__name__ in str(raised.value)


WRONG = [
    (lambda: tool(name="no spaces")(lambda: None), "name"),
    (lambda: tool(timeout_s=0, name="t")(lambda: None), "timeout_s"),
    (lambda: tool(max_result_bytes=0, name="t")(lambda: None), "max_result_bytes"),
    (lambda: tool(eager=True, sequential=True, name="t")(lambda: None), "eager"),
    (lambda: tool(approve="maybe", name="t")(lambda: None), "approve"),
    (lambda: tool(args=int, name="t")(lambda one: None), "tool"),
    (lambda: tool(args=Place, name="t")(lambda: None), "tool"),
    (lambda: Tool("none"), "tool"),
    (lambda: Tools([Tool(lambda: None, name="a"), Tool(lambda: None, name="a")]), "tools"),
    (lambda: Tools(Tool(lambda: None, name="a")), "tools"),
    (lambda: Tools(blocked=["rm"]), "blocked"),
    (lambda: Tools(max_parallel=0), "max_parallel"),
    (lambda: Tools(max_repeats=0), "max_repeats"),
    (lambda: Tools(timeout_s=0), "timeout_s"),
    (lambda: Tools(approve="maybe"), "approve"),
    (lambda: Tool.from_schema(ToolSpec(""), call), "name"),
]


def test_a_wrong_option_is_refused_by_its_name():
    """semantics 11.2: bad input gets a clear error at once."""
    told = []
    for make, _ in WRONG:
        with pytest.raises(ConfigError) as raised:
            make()
        told.append(raised.value.field)

    assert told == [field for _, field in WRONG]


async def test_a_sync_function_runs_in_a_thread():
    """semantics 20.2: a tool that blocks does not stop the event loop, and sees the context of its call."""
    import threading

    main = threading.get_ident()

    @tool
    def where(run: ToolContext[object]) -> bool:
        return threading.get_ident() != main and not run.is_over

    assert await call(where) is True


def test_results_are_told_as_they_are_or_as_json():
    """semantics 20.3: text, parts, JSON values, models and Structs; nothing is told in words, as servers refuse empty results."""
    picture = ImagePart(b"x", "image/png")

    assert content_of("hi") == "hi"
    assert content_of(picture) == (picture,)
    assert content_of([TextPart("a"), picture]) == (TextPart("a"), picture)
    assert content_of({"a": [1, None]}) == '{"a":[1,null]}'
    assert content_of(Place(city="Rome")) == '{"city":"Rome","country":null}'
    assert content_of([Item("a")]) == '[{"name":"a","count":1}]'
    assert content_of(None) == content_of("") != ""
    with pytest.raises(ToolError):
        content_of(Opaque())


def test_a_long_result_is_cut_with_a_note():
    """semantics 20.3: no result is larger than its limit, no character is cut in half, and the model is told."""
    cut = capped("ä" * 100, 11)
    parts = capped((TextPart("abc"), ImagePart(b"x" * 50), TextPart("d" * 50), DataPart("n", 1)), 10)

    assert cut.startswith("ä" * 5 + "\n[cut: the first 11 of 200 bytes]")
    assert parts[0] == TextPart("abc")
    assert "50 bytes was left out" in parts[1].text
    assert capped("abc", 3) == "abc"


async def test_a_tool_tells_how_it_gets_on():
    """semantics 20.2: progress is a preliminary result of the call; data is for whoever watches, and not stored."""
    seen = []

    @tool
    async def slow(run: ToolContext[object]) -> str:
        await run.progress("half")
        await run.data("steps", {"done": 1})
        return "done"

    async def send(element) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(element)

    await slow.run({}, ToolContext(ToolCallElement("c1", "slow"), None, send))

    assert [(type(one).__name__, getattr(one, "preliminary", None)) for one in seen] == [
        ("ToolResultElement", True),
        ("DataElement", None),
    ]
    assert seen[1].transient
