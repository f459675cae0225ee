"""What is no stage is refused at once, with a way out."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from streamflow import (
    BaseStage,
    CollectStage,
    FilterStage,
    MapStage,
    Message,
    PassthroughStage,
    PipelineBuilder,
    ReceiveEnd,
    SendEnd,
    SinkStage,
    StageError,
    StageKind,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import SourceError, StageDefinitionError
from streamflow.providers import ScriptedProvider
from streamflow.stages import StageLike
from streamflow.testing import run_stage

Stream = AsyncIterator[StreamElement]


def same(element: StreamElement) -> StreamElement:
    return element


async def coroutine() -> None:
    """Stand for a coroutine function that somebody called by mistake."""


def generator() -> Iterator[StreamElement]:
    yield TextElement("x")


async def async_generator() -> Stream:
    yield TextElement("x")


class Nameless:
    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        raise AssertionError


class NeedsArguments:
    def __init__(self, model: str) -> None:
        self.model = model

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        raise AssertionError


class NoProcess:
    pass


class SyncProcess(BaseStage):
    def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        raise AssertionError


class Forgetful(BaseStage):
    def __init__(self) -> None:
        pass

    async def process(self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
        raise AssertionError


def with_process(process: Callable[..., object], **attributes: object) -> object:
    return type("Odd", (), {"name": "odd", "process": process, **attributes})()


async def ok(self: object, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement]) -> None:
    raise AssertionError


async def one_only(self: object, input: ReceiveEnd[StreamElement]) -> None:
    raise AssertionError


async def nothing(self: object) -> None:
    raise AssertionError


async def four(self: object, input: object, output: object, run: object, more: object) -> None:
    raise AssertionError


async def run_second(self: object, element: object, run: object) -> None:
    raise AssertionError


async def keyword(self: object, input: object, output: object, *, run: object) -> None:
    raise AssertionError


async def starred(*stream: object) -> None:
    raise AssertionError


async def generating_of_none(self: object) -> Stream:
    yield TextElement("x")


async def generating_of_three(self: object, stream: object, run: object, more: object) -> Stream:
    yield TextElement("x")


async def generating_of_two(self: object, stream: object) -> Stream:
    yield TextElement("x")


async def async_open(self: object, run: object) -> object:
    return self


def source() -> Iterator[TextElement]:
    yield TextElement("x")


async def no_yield(stream: AsyncIterator[TextElement]) -> None:
    raise AssertionError


SINK, GENERATE = StageKind.SINK, StageKind.GENERATE

NO_STAGES = [
    pytest.param(lambda: None, r"got None \(NoneType\).*; give an async generator function", id="None"),
    pytest.param(lambda: 5, r"got 5 \(int\)", id="int"),
    pytest.param(lambda: [PassthroughStage()], r"\(list\).*; unpack it", id="list"),
    pytest.param(coroutine, "the coroutine 'coroutine' .*; pass the function itself", id="coroutine"),
    pytest.param(async_generator, "the async_generator 'async_generator'", id="async generator object"),
    pytest.param(generator, "the generator 'generator' .*; pass the function itself", id="generator object"),
    pytest.param(PipelineBuilder, "build it first: .*as_stage", id="a builder"),
    pytest.param(ScriptedProvider, r"as ProviderStage\(provider\)", id="a provider"),
    pytest.param(lambda: stage("shout"), r"@stage\(name='shout'\)", id="a name for @stage"),
    pytest.param(lambda: source, r"source\(\) -> .* source of a run: execute\(source", id="sync source"),
    pytest.param(lambda: no_yield, "with AsyncIterator.TextElement., a stream, .*; to see the stream", id="no yield"),
    pytest.param(lambda: lambda element: element, "a stage needs a name", id="lambda"),
    pytest.param(lambda: functools.partial(same), "a stage needs a name, and functools.partial", id="partial"),
    pytest.param(lambda: NeedsArguments, "cannot be made without arguments.*'model'", id="class with arguments"),
    pytest.param(lambda: NoProcess, "the class NoProcess has no process", id="class without process"),
    pytest.param(NoProcess, "a stage was expected", id="object without process"),
    pytest.param(
        lambda: BaseStage("x"),
        r"got <BaseStage 'x'>.*no process\(\) method.*; write 'async def process",
        id="BaseStage without process",
    ),
    pytest.param(SyncProcess, r"process\(input.*is no stage function", id="process not async"),
    pytest.param(Forgetful, "<Forgetful None> has no name", id="super().__init__() forgotten"),
    pytest.param(Nameless, "has no name", id="plain object without a name"),
    pytest.param(lambda: with_process(ok, name=""), "'' cannot be the name", id="empty name"),
    pytest.param(lambda: with_process(ok, name=5), "5 cannot be the name", id="name that is no string"),
    pytest.param(lambda: type("Odd", (), {"name": 5, "process": ok}), "5 cannot be the name", id="of a class"),
    pytest.param(lambda: PassthroughStage(" "), "' ' cannot be the name", id="blank name"),
    pytest.param(lambda: MapStage(same, name=""), "'' cannot be the name", id="empty name of a function"),
    pytest.param(lambda: stage(name="")(same), "'' cannot be the name", id="empty name in @stage"),
    pytest.param(lambda: with_process(one_only), "a sink may take 'input' alone", id="process without output"),
    pytest.param(lambda: with_process(nothing), "is no stage function", id="process of nothing"),
    pytest.param(lambda: with_process(four), "is no stage function", id="process of four"),
    pytest.param(lambda: with_process(run_second), "is no stage function", id="run in the place of output"),
    pytest.param(lambda: with_process(keyword), "needs the keyword 'run'", id="process with a keyword"),
    pytest.param(lambda: starred, r"takes \*stream, which does not tell", id="starred"),
    pytest.param(lambda: with_process(one_only, kind=GENERATE), "is no stage function", id="generates without output"),
    pytest.param(lambda: with_process(generating_of_none), "of the kind 'transform'", id="generator of nothing"),
    pytest.param(lambda: with_process(generating_of_three), "of the kind 'transform'", id="generator of three"),
    pytest.param(lambda: with_process(generating_of_three, kind=GENERATE), "of the kind 'generate'", id="generates"),
    pytest.param(lambda: with_process(generating_of_two, kind=SINK), "of the kind 'sink'", id="sink that yields"),
    pytest.param(lambda: stage(kind=GENERATE)(same), "generates, but is no async generator", id="no generator"),
    pytest.param(lambda: with_process(ok, kind="sink"), "kind='sink' is no StageKind", id="kind"),
    pytest.param(lambda: with_process(ok, max_held=0), "max_held=0 is no int above 0", id="max_held"),
    pytest.param(lambda: with_process(ok, max_held=1.5), "max_held=1.5 is no int", id="max_held no int"),
    pytest.param(lambda: with_process(ok, timeout_s=-1), "timeout_s=-1 is no float", id="timeout_s"),
    pytest.param(lambda: with_process(ok, timeout_s=True), "timeout_s=True", id="timeout_s of bool"),
    pytest.param(lambda: with_process(ok, timeout_s="1"), "timeout_s='1'", id="timeout_s of str"),
    pytest.param(lambda: with_process(ok, open=async_open), "its open is not what the runtime calls", id="async open"),
    pytest.param(lambda: with_process(ok, open=nothing), "its open is not", id="open without run"),
    pytest.param(lambda: with_process(ok, open="file"), "its open is not", id="open that is no method"),
    pytest.param(lambda: stage(5), "@stage was given 5, which is no function", id="@stage of int"),
    pytest.param(lambda: stage("name"), "@stage was given 'name'", id="@stage of str"),
    pytest.param(lambda: stage(NoProcess), "@stage was given .*NoProcess.* a class or an object", id="@stage of class"),
    pytest.param(lambda: stage(PassthroughStage()), "@stage was given <Pass", id="@stage of a stage"),
    pytest.param(lambda: MapStage(5, name="x"), "MapStage was given 5, which is no function", id="MapStage of int"),
    pytest.param(lambda: MapStage(lambda a, b: a, name="x"), r"given 2 arguments \(a, b\)", id="MapStage of two"),
    pytest.param(lambda: SinkStage(lambda: None, name="x"), "given 0 arguments", id="SinkStage of nothing"),
    pytest.param(lambda: FilterStage(lambda element: True), "a stage needs a name", id="FilterStage without name"),
    pytest.param(lambda: CollectStage(5), "given 5 .int., which has no append", id="CollectStage of int"),
]


@pytest.mark.parametrize(("make", "said"), NO_STAGES)
def test_what_is_no_stage_is_refused_with_a_way_out(make: Callable[[], StageLike], said: str) -> None:
    """issue 2, bad input: a clear error of our own tree, at the latest where the stage is added."""
    with pytest.raises(StageDefinitionError, match=re.compile(said)) as caught:
        PipelineBuilder().chain(make())
    (finding,) = caught.value.findings
    assert finding.kind == "not-a-stage"
    assert finding.hint


@pytest.mark.parametrize("opened_as", [None, 5, NoProcess()])
async def test_what_open_returns_must_have_a_process(opened_as: object) -> None:
    """`Stage`: `open(run)` returns the object whose `process` is run; anything else is named in the failure of the stage."""
    given = with_process(ok, open=lambda self, run: opened_as)

    with pytest.raises(StageError, match=r"open\(run\) returned .*, which has no process"):
        await run_stage(given, ["x"])


def test_a_list_of_stages_and_a_bare_message_are_told_how_to_mend_them() -> None:
    """Bad input: the two mistakes that a newcomer makes first."""
    with pytest.raises(StageDefinitionError, match=r"unpack it: chain\(\*stages\)"):
        PipelineBuilder().chain([PassthroughStage("a"), PassthroughStage("b")])  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"wrap it: MessageElement\(message\)"):
        PipelineBuilder().chain(PassthroughStage("a")).build().execute(Message("user", "hello"))  # type: ignore[arg-type]
