"""What a stage accepts and emits: read from its annotations, or said by keyword or attribute."""

from __future__ import annotations

import collections.abc
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, Union

import pytest
import typing_extensions
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from streamflow import (
    AudioElement,
    BaseStage,
    ControlElement,
    FilterStage,
    FlatMapStage,
    MapStage,
    PassthroughStage,
    PipelineBuilder,
    ReceiveEnd,
    SendEnd,
    SinkStage,
    StreamElement,
    TextElement,
    TurnEnd,
    stage,
)
from streamflow.errors import StageDefinitionError
from streamflow.stages import ALL_DATA, StageLike, as_stage
from streamflow.testing import run_stage

if TYPE_CHECKING:
    # What ruff moves here when annotations alone use it.
    from collections.abc import AsyncIterator

    from streamflow.nowhere import UnknownElement

    from streamflow import ImageElement, RunContext

T = TypeVar("T")
AnyElement = TypeVar("AnyElement", bound=StreamElement)


class LoudElement(TextElement, frozen=True):
    """A subclass of the user's."""


class Pair(StreamElement, Generic[T], frozen=True):
    """A generic element of the user's."""

    value: T


class Feed(collections.abc.AsyncIterator[T]):
    """A stream class of the user's, of one argument."""


class Keyed(collections.abc.AsyncIterator[T], Generic[AnyElement, T]):
    """A stream class of the user's, whose first argument is not what flows."""


class Readable(Protocol):
    """What a user may ask of an input."""


def generator(reads: object, writes: object) -> StageLike:
    async def subject(stream):
        return
        yield stream

    subject.__annotations__ = {"stream": reads, "return": writes}
    return subject


def function(reads: object, writes: object) -> StageLike:
    async def subject(input, output):
        raise AssertionError

    subject.__annotations__ = {"input": reads, "output": writes, "return": None}
    return subject


def method(reads: object, writes: object) -> StageLike:
    async def process(self, input, output):
        raise AssertionError

    process.__annotations__ = {"input": reads, "output": writes}
    return type("Subject", (BaseStage,), {"process": process})()


def types_of(given: StageLike) -> tuple[object, object]:
    spec = as_stage(given)
    return spec.accepts, spec.emits


Iterated, Aliased = collections.abc.AsyncIterator, typing_extensions.TypeAliasType
Sound = Aliased("Sound", Union[AudioElement, LoudElement])  # noqa: UP007 - the old way to write it, too
Hearing = Aliased("Hearing", Iterated[Sound])

STREAMS = [
    (Iterated[TextElement], (TextElement,)),
    ("AsyncIterator[TextElement]", (TextElement,)),
    ("collections.abc.AsyncIterator[TextElement]", (TextElement,)),
    (collections.abc.AsyncIterable[LoudElement], (LoudElement,)),
    (collections.abc.AsyncGenerator[TextElement, None], (TextElement,)),
    (ReceiveEnd[TextElement], (TextElement,)),
    (SendEnd[TextElement], (TextElement,)),
    (ObjectReceiveStream[TextElement], (TextElement,)),
    (ObjectSendStream[TextElement], (TextElement,)),
    (MemoryObjectReceiveStream[TextElement], (TextElement,)),
    (MemoryObjectSendStream[TextElement], (TextElement,)),
    (Feed[TextElement], (TextElement,)),
    (Iterated[TextElement | AudioElement], (TextElement, AudioElement)),
    (Iterated[Union[TextElement, TurnEnd]], (TextElement, TurnEnd)),  # noqa: UP007
    (Iterated[TextElement] | collections.abc.AsyncIterable[AudioElement], (TextElement, AudioElement)),
    (Iterated[Annotated[TextElement, "spoken"]], (TextElement,)),
    (Iterated[Pair[int]], (Pair,)),
    (Iterated[Sound], (AudioElement, LoudElement)),
    (Hearing, (AudioElement, LoudElement)),
    (Iterated[StreamElement], (StreamElement,)),
    (Iterated[ControlElement], (ControlElement,)),
    # What leaves it open
    (Iterated, None),
    (Iterated[Any], None),
    (Iterated[object], None),
    (Iterated[T], None),
    (Iterated[AnyElement], None),
    (Iterated[TextElement | Any], None),
    (Iterated[TextElement] | Any, None),
    (Any, None),
    (object, None),
    (T, None),
    (Keyed[TextElement, int], None),
    (Readable, None),
]


@pytest.mark.parametrize("make", [generator, function, method])
@pytest.mark.parametrize(("annotation", "expected"), STREAMS, ids=[str(one) for one, _ in STREAMS])
def test_a_stream_annotation_says_which_types_flow(
    make: Callable[[object, object], StageLike], annotation: object, expected: object
) -> None:
    """semantics 3.3: accepts and emits come from the annotation, in every way to write it; where it leaves them open, all data."""
    assert types_of(make(annotation, annotation)) == (expected or ALL_DATA, expected)


def test_without_annotations_a_stage_accepts_all_data() -> None:
    """semantics 3.3: the default is all data, and what it emits is unknown, or any element, which comes to the same."""

    async def streams(stream):
        return
        yield stream

    def one(element):
        return element

    def several(element):
        yield element

    for given in (streams, one, several):
        assert types_of(given) == (ALL_DATA, None)
    for given in (MapStage(one), FlatMapStage(several), FilterStage(one), PassthroughStage()):
        assert types_of(given) == (ALL_DATA, (StreamElement,))
    assert types_of(SinkStage(one)) == (ALL_DATA, None)


def loud(element: TextElement) -> LoudElement | None:
    return LoudElement(element.text)


async def loud_later(element: TextElement) -> LoudElement:
    return LoudElement(element.text)


def louder(element: TextElement) -> Iterator[LoudElement]:
    yield LoudElement(element.text)


async def loudest(element: TextElement) -> AsyncIterator[LoudElement]:
    yield LoudElement(element.text)


def listed(element: TextElement) -> list[LoudElement]:
    return [LoudElement(element.text)]


async def listed_later(element: TextElement) -> collections.abc.Sequence[LoudElement]:
    return listed(element)


def awaited(element: TextElement) -> collections.abc.Awaitable[LoudElement]:
    return loud_later(element)


def awaited_list(element: TextElement) -> collections.abc.Coroutine[Any, Any, set[LoudElement]]:
    raise AssertionError


def pair(element: TextElement) -> tuple[LoudElement, AudioElement]:
    raise AssertionError


def some(element: TextElement) -> tuple[LoudElement, ...]:
    raise AssertionError


class Louder:
    def __call__(self, element: TextElement) -> LoudElement:
        return LoudElement(element.text)

    def method(self, element: TextElement) -> LoudElement:
        return LoudElement(element.text)


@functools.wraps(loud)
def wrapped(*args: object, **kwargs: object) -> object:
    return loud(*args, **kwargs)


def scaled(factor: int, element: TextElement) -> LoudElement:
    return LoudElement(element.text * factor)


class Silent:
    """An object that is no function and has a `func`, as a partial has."""

    func = None

    def __call__(self, element: TextElement) -> LoudElement:
        raise AssertionError


OF_ONE_ELEMENT = [
    stage(loud),
    stage(loud_later),
    stage(louder),
    stage(name="wrapped")(wrapped),
    stage(awaited),
    MapStage(loud),
    MapStage(loud_later),
    MapStage(awaited),
    MapStage(Louder(), name="louder"),
    MapStage(Louder().method),
    MapStage(wrapped, name="wrapped"),
    MapStage(Silent(), name="silent"),
    MapStage(functools.partial(functools.partial(scaled), 2), name="scaled"),
    FlatMapStage(louder),
    FlatMapStage(loudest),
    FlatMapStage(listed),
    FlatMapStage(listed_later),
    FlatMapStage(awaited_list),
    FlatMapStage(some),
]


@pytest.mark.parametrize("given", OF_ONE_ELEMENT, ids=lambda given: f"{type(given).__name__}-{given.name}")
def test_a_function_of_one_element_says_its_types(given: StageLike) -> None:
    """semantics 3.3: also through a wrapper, a partial, a method, a callable object, an awaitable, a list."""
    assert types_of(given) == ((TextElement,), (LoudElement,))


def test_a_tuple_may_hold_several_types() -> None:
    """`FlatMapStage`: all types of a fixed tuple are emitted, not just the first."""
    assert types_of(FlatMapStage(pair)) == ((TextElement,), (LoudElement, AudioElement))


def test_a_filter_emits_what_it_accepts() -> None:
    """`FilterStage`: it makes nothing new, so its types are those that it is asked about."""

    def is_loud(element: TextElement) -> bool:
        raise AssertionError

    assert types_of(FilterStage(is_loud)) == ((TextElement,), (TextElement,))
    assert types_of(FilterStage(is_loud, accepts=(AudioElement, TurnEnd))) == ((AudioElement, TurnEnd),) * 2


@stage(accepts=TextElement, emits=(AudioElement, TurnEnd))
async def by_keyword(stream: AsyncIterator[UnknownElement]) -> AsyncIterator[UnknownElement]:
    return
    yield stream


class ByAttribute(BaseStage):
    accepts = TextElement
    emits = (AudioElement, TurnEnd)

    async def process(self, input: ReceiveEnd[UnknownElement], output: SendEnd[UnknownElement]) -> None:
        raise AssertionError


class ByAttributeAlone:
    accepts = TextElement
    emits = (AudioElement, TurnEnd)

    async def process(self, input, output):
        raise AssertionError


def of_unknown(element: UnknownElement) -> UnknownElement:
    raise AssertionError


@pytest.mark.parametrize(
    "given",
    [
        by_keyword,
        ByAttribute(),
        ByAttribute,
        ByAttributeAlone,
        stage(accepts=TextElement, emits=(AudioElement, TurnEnd))(of_unknown),
        MapStage(of_unknown, accepts=TextElement, emits=(AudioElement, TurnEnd)),
        FlatMapStage(of_unknown, accepts=TextElement, emits=(AudioElement, TurnEnd)),
    ],
)
def test_a_keyword_or_attribute_comes_before_the_annotation(given: StageLike) -> None:
    """semantics 3.3: `accepts=` and `emits=` are the way out where an annotation cannot be resolved, so it is not even read."""
    assert types_of(given) == ((TextElement,), (AudioElement, TurnEnd))


# Names that are there for the type checker alone


async def moved(stream: AsyncIterator[ImageElement], run: RunContext[object]) -> AsyncIterator[ImageElement]:
    return
    yield stream


def test_our_own_names_may_stand_under_type_checking() -> None:
    """semantics 3.3: linters move what only annotations use there; streams and our element types are understood all the same."""
    spec = as_stage(moved)

    assert [one.__name__ for one in spec.accepts] == ["ImageElement"]
    assert spec.emits == spec.accepts


def test_a_name_of_the_users_own_wins_over_ours() -> None:
    """semantics 3.3: a module may call its element as it likes."""
    namespace: dict[str, Any] = {"TextElement": LoudElement, "__name__": "users"}
    exec("def one(element: 'TextElement'): return element", namespace)

    assert types_of(stage(namespace["one"])) == ((LoudElement,), None)


def test_local_types_and_the_function_itself_are_understood() -> None:
    """semantics 3.3: a nested function may name what the function around it sees, and itself before it is bound."""
    local = LoudElement

    @stage
    async def nested(stream: AsyncIterator[local]) -> AsyncIterator[local]:
        assert nested is not None
        assert local is not None
        return
        yield stream

    assert types_of(nested) == ((LoudElement,), (LoudElement,))


async def unknown_stream(stream: AsyncIterator[UnknownElement]) -> AsyncIterator[TextElement]:
    return
    yield stream


def bad_subscript(element: TextElement[int]) -> TextElement:
    raise AssertionError


UNRESOLVABLE = [
    (lambda: as_stage(unknown_stream), "'AsyncIterator[UnknownElement]' of 'stream'"),
    (lambda: MapStage(of_unknown), "'UnknownElement' of 'element'"),
    (lambda: MapStage(of_unknown, accepts=TextElement), "'UnknownElement' of 'return'"),
    (lambda: MapStage(bad_subscript), "'TextElement[int]' of 'element'"),
    (lambda: as_stage(generator("AsyncIterator[", None)), "'AsyncIterator[' of 'stream'"),
    (lambda: as_stage(generator("collections.abc.Nothing", None)), "'collections.abc.Nothing' of 'stream'"),
]


@pytest.mark.parametrize(("make", "said"), UNRESOLVABLE, ids=[said for _, said in UNRESOLVABLE])
def test_an_annotation_that_cannot_be_resolved_is_an_error_with_a_way_out(
    make: Callable[[], object], said: str
) -> None:
    """issue 2, point 5: not the `NameError` of a later moment, but which annotation of which stage, and what to do."""
    with pytest.raises(StageDefinitionError) as caught:
        make()
    assert said in str(caught.value)
    assert "cannot be resolved" in str(caught.value)
    assert "or say accepts= / emits=" in str(caught.value)
    assert caught.value.__cause__ is not None


# Types that are no elements


def wrong(reads: object, writes: object = TextElement) -> Callable[[StreamElement], object]:
    def wrong(element):
        raise AssertionError

    wrong.__annotations__ = {"element": reads, "return": writes}
    return wrong


MISTAKES = [
    (lambda: as_stage(generator(TextElement, None)), "'stream' is annotated with TextElement, which is no stream"),
    (lambda: as_stage(generator(Iterated[int], None)), "'stream' is annotated with int, which is no element type"),
    (lambda: as_stage(generator(Iterated[str | TextElement], None)), "annotated with str, which is no element type"),
    (lambda: as_stage(generator(str, None)), "'stream' is annotated with str, which is no stream of elements"),
    (lambda: as_stage(generator(dict[str, int], None)), "annotated with dict[str, int], which is no stream"),
    (lambda: as_stage(generator(Iterated[TextElement], None)), "'return' is annotated with NoneType"),
    (lambda: as_stage(generator(None, None)), "'stream' is annotated with NoneType"),
    (lambda: as_stage(function(ReceiveEnd[TextElement], TextElement)), "as in SendEnd[TextElement]"),
    (lambda: as_stage(stage(wrong(int))), "'element' is annotated with int, which is no element type"),
    (lambda: stage(wrong(Iterated[TextElement])), "AsyncIterator[TextElement], a stream, in a function of one element"),
    (lambda: stage(wrong(TextElement, str)), "'return' is annotated with str"),
    (lambda: stage(wrong(TextElement, None)), "'return' is annotated with NoneType, which is no element type"),
    (lambda: stage(wrong(TextElement, "None")), "none from a FilterStage or a SinkStage"),
    (lambda: MapStage(wrong(TextElement, list[TextElement])), "several come from a generator or a FlatMapStage"),
    (
        lambda: FlatMapStage(wrong(TextElement, TextElement)),
        "'return' is annotated with TextElement, which is no stream",
    ),
    (lambda: FlatMapStage(wrong(TextElement, list[str])), "with str, which is no element type"),
    (lambda: SinkStage(wrong(bytes)), "'element' is annotated with bytes"),
    (
        lambda: stage(accepts=int)(wrong(TextElement)),
        "accepts=<class 'int'> is no element type; give accepts=TextElement",
    ),
    (lambda: as_stage(MapStage(wrong(TextElement), accepts=())), "accepts=() is no element type"),
    (lambda: as_stage(MapStage(wrong(TextElement), accepts=[TextElement])), "is no element type; give accepts="),
    (lambda: as_stage(MapStage(wrong(TextElement), emits=(TextElement, str))), "emits=("),
    (lambda: as_stage(MapStage(wrong(TextElement), emits="TextElement")), "emits='TextElement' is no element type"),
]


@pytest.mark.parametrize(("make", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_type_that_is_no_element_type_is_an_error(make: Callable[[], object], said: str) -> None:
    """issue 2, bad input: what can only be a mistake is refused when the stage is made or added, not when it runs."""
    with pytest.raises(StageDefinitionError) as caught:
        make()
    assert said in str(caught.value)
    assert caught.value.findings[0].stage in {"subject", "wrong"}


# What that does to the flow


async def test_a_subclass_is_accepted_and_other_types_pass_by_in_order() -> None:
    """semantics 3.3: a type stands for its subclasses; what is not accepted leaves behind the results of what came before."""

    async def shout(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
        async for element in stream:
            yield TextElement(element.text.upper())

    sound = AudioElement(b"")

    assert await run_stage(shout, ["a", sound, LoudElement("b"), TurnEnd(), "c", sound]) == [
        TextElement("A"),
        sound,
        TextElement("B"),
        TurnEnd(),
        TextElement("C"),
        sound,
    ]


def test_types_are_read_once_when_the_stage_is_added() -> None:
    """semantics 3.4: a blueprint is complete at `build()`; a run resolves no annotation."""
    pipeline = (
        PipelineBuilder().chain(stage(accepts=TextElement, emits=TextElement)(of_unknown), PassthroughStage()).build()
    )

    assert pipeline.execute_sync([]).elements == ()
