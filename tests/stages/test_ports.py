"""Named ports and resources: what a stage declares about them, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from streamflow import (
    AudioElement,
    BaseStage,
    DataElement,
    MapStage,
    ReceiveEnd,
    Resource,
    RunContext,
    SendEnd,
    StageKind,
    StreamElement,
    TextElement,
    stage,
)
from streamflow.errors import StageDefinitionError
from streamflow.stages import ALL_DATA, Accepts, StageLike, StageSpec, as_stage

TWO: Mapping[str, Accepts] = {"left": TextElement, "right": (TextElement, AudioElement)}
OUT: Mapping[str, Accepts | None] = {"out": AudioElement, "log": (DataElement, AudioElement)}


class Both(BaseStage):
    inputs = TWO
    outputs = OUT

    async def process(
        self,
        inputs: Mapping[str, ReceiveEnd[StreamElement]],
        outputs: Mapping[str, SendEnd[StreamElement]],
        run: RunContext[object],
    ) -> None:
        raise AssertionError


class Plain:
    """Not derived from anything of ours."""

    name = "plain"
    inputs = TWO

    async def process(self, inputs: object, output: SendEnd[TextElement]) -> None:
        raise AssertionError


class Opened:
    outputs = OUT

    def open(self, run: object) -> Opened:
        return self

    async def process(self, input: ReceiveEnd[TextElement], outputs: object) -> None:
        raise AssertionError


@stage(inputs=TWO, outputs=OUT)
async def both(inputs: object, outputs: object) -> None:
    raise AssertionError


@stage(inputs=TWO, kind=StageKind.SINK)
async def drain(inputs: object) -> None:
    raise AssertionError


@stage(kind=StageKind.GENERATE, outputs=OUT)
async def source(_input: object, outputs: object) -> None:
    raise AssertionError


UNITED_IN = (TextElement, AudioElement)
UNITED_OUT = (AudioElement, DataElement)
INPUTS = {"left": (TextElement,), "right": (TextElement, AudioElement)}
OUTPUTS = {"out": (AudioElement,), "log": (DataElement, AudioElement)}

FORMS = [
    pytest.param(Both, (INPUTS, OUTPUTS), (UNITED_IN, UNITED_OUT), None, id="class"),
    pytest.param(Both(), (INPUTS, OUTPUTS), (UNITED_IN, UNITED_OUT), None, id="object"),
    pytest.param(Plain(), (INPUTS, {"": (TextElement,)}), (UNITED_IN, (TextElement,)), None, id="plain"),
    pytest.param(Opened, ({"": (TextElement,)}, OUTPUTS), ((TextElement,), UNITED_OUT), 1, id="opened"),
    pytest.param(both, (INPUTS, OUTPUTS), (UNITED_IN, UNITED_OUT), None, id="function"),
    pytest.param(drain, (INPUTS, {}), (UNITED_IN, None), None, id="sink"),
    pytest.param(source, ({}, OUTPUTS), (ALL_DATA, UNITED_OUT), 1, id="generates"),
]


@pytest.mark.parametrize(("given", "ports", "united", "held"), FORMS)
def test_a_stage_declares_its_ports(
    given: StageLike, ports: tuple[object, object], united: tuple[object, object], held: int | None
) -> None:
    """semantics 3.5: in every form of whole streams; what the stage accepts and emits is what all of its ports do."""
    spec = as_stage(given)

    assert (dict(spec.inputs), dict(spec.outputs)) == ports
    assert (spec.accepts, spec.emits) == united
    assert spec.max_held == held


def test_what_one_output_emits_may_be_unknown() -> None:
    """semantics 3.5: then it is unknown what the stage emits."""
    spec = as_stage(stage(outputs={"a": None, "b": TextElement})(process_of_one_input))

    assert dict(spec.outputs) == {"a": None, "b": (TextElement,)}
    assert spec.emits is None


async def process_of_one_input(input: ReceiveEnd[TextElement], outputs: object) -> None:
    raise AssertionError


def test_a_stage_without_named_ports_has_one_end_on_each_side() -> None:
    """semantics 3.5: the default of every stage, also where an attribute says so."""
    for given in (MapStage(abs, name="x"), stage(inputs={}, outputs={})(one_to_one)):
        spec = as_stage(given)
        assert dict(spec.inputs) == {"": spec.accepts}
        assert dict(spec.outputs) == {"": spec.emits}
        assert not spec.input_ports
        assert not spec.output_ports


async def one_to_one(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
    raise AssertionError


def test_ports_do_not_change_with_what_they_were_read_from() -> None:
    """semantics 3.4: a stage is a blueprint; nobody else holds its ports."""
    ports: dict[str, Accepts] = {"left": TextElement, "right": TextElement}
    spec = as_stage(stage(inputs=ports)(two_to_one))
    ports["third"] = TextElement

    assert list(spec.input_ports) == ["left", "right"]
    with pytest.raises(TypeError):
        spec.input_ports["third"] = ALL_DATA


async def two_to_one(inputs: object, output: SendEnd[TextElement]) -> None:
    raise AssertionError


def test_the_body_gets_what_it_is_given() -> None:
    """semantics 3.5: a mapping of ends comes in the place of the end, and `run` behind them."""
    taken: list[object] = []

    class Taking(BaseStage):
        inputs = TWO
        outputs = OUT

        async def process(self, inputs: object, outputs: object, run: object) -> None:
            taken.extend((inputs, outputs, run))

    body = as_stage(Taking).start(None)
    with contextlib.suppress(StopIteration):
        body({"left": 1}, {"out": 2}, "run").send(None)

    assert taken == [{"left": 1}, {"out": 2}, "run"]


# What is refused


def with_process(process: Callable[..., object], **attributes: object) -> object:
    return type("Odd", (BaseStage,), {"process": process, **attributes})("odd")


async def inputs_output(self: object, inputs: object, output: object) -> None: ...
async def input_outputs(self: object, input: object, outputs: object) -> None: ...
async def input_output(self: object, input: object, output: object) -> None: ...
async def inputs_outputs(self: object, inputs: object, outputs: object) -> None: ...
async def other_names(self: object, these: object, those: object) -> None: ...
async def inputs_alone(self: object, inputs: object) -> None: ...
async def generator(self: object, inputs: object) -> AsyncIterator[TextElement]:
    yield TextElement("x")


def of_element(element: TextElement) -> TextElement:
    raise AssertionError


SINK, GENERATE, ACCUMULATE = StageKind.SINK, StageKind.GENERATE, StageKind.ACCUMULATE
ONE = {"a": TextElement}

REFUSED = [
    pytest.param(
        lambda: with_process(input_output, inputs=ONE), r"call the parameter 'inputs'.*inputs\['a'\]", id="in"
    ),
    pytest.param(
        lambda: with_process(input_output, outputs=ONE),
        r"'odd' has named outputs, but input_output\(\) takes",
        id="out",
    ),
    pytest.param(lambda: with_process(inputs_output), r"takes 'inputs', but the stage has no named inputs", id="no in"),
    pytest.param(
        lambda: with_process(input_outputs), r"declare them, as in outputs={'name': TextElement}", id="no out"
    ),
    pytest.param(
        lambda: with_process(inputs_alone, inputs=ONE), r"write 'async def process\(inputs, outputs\)'", id="few"
    ),
    pytest.param(
        lambda: with_process(generator, inputs=ONE), "is an async generator, which has one stream", id="generator"
    ),
    pytest.param(lambda: stage(inputs=ONE)(of_element), r"of_element\(.*is no stage function", id="of an element"),
    pytest.param(
        lambda: with_process(inputs_outputs, inputs=ONE, outputs=ONE, kind=SINK), "a sink has no output", id="sink"
    ),
    pytest.param(
        lambda: with_process(inputs_outputs, inputs=ONE, outputs=ONE, kind=GENERATE),
        "has no input; leave",
        id="generate",
    ),
    pytest.param(
        lambda: with_process(inputs_output, inputs=ONE, kind=ACCUMULATE), "cannot accumulate.*max_held", id="holds"
    ),
    pytest.param(
        lambda: with_process(inputs_output, inputs=ONE, accepts=TextElement), "both inputs= and accepts=", id="acc"
    ),
    pytest.param(
        lambda: with_process(input_outputs, outputs=ONE, emits=TextElement), "both outputs= and emits=", id="emits"
    ),
    pytest.param(lambda: with_process(inputs_output, inputs=["a"]), r"inputs=\['a'\] is no mapping", id="list"),
    pytest.param(lambda: with_process(inputs_output, inputs="a"), "inputs='a' is no mapping", id="string"),
    pytest.param(
        lambda: with_process(inputs_output, inputs={"a": str}), r"inputs\['a'\]=<class 'str'> is no element", id="t"
    ),
    pytest.param(
        lambda: with_process(inputs_output, inputs={"a": None}), r"inputs\['a'\]=None is no element", id="none"
    ),
    pytest.param(
        lambda: with_process(inputs_output, inputs={"a": ()}), r"inputs\['a'\]=\(\) is no element", id="empty"
    ),
    pytest.param(lambda: with_process(input_outputs, outputs={"a": 5}), r"outputs\['a'\]=5 is no element type", id="5"),
    pytest.param(
        lambda: with_process(inputs_output, inputs={"": TextElement}), "'' cannot be the name of the port", id="''"
    ),
    pytest.param(
        lambda: with_process(input_outputs, outputs={"a:b": TextElement}), "in outputs; a name is a", id="a:b"
    ),
    pytest.param(
        lambda: with_process(inputs_output, inputs={5: TextElement}), "5 cannot be the name of the port", id="name 5"
    ),
    pytest.param(lambda: with_process(input_output, resources=[]), r"resources=\[\] is no tuple", id="resources list"),
    pytest.param(
        lambda: with_process(input_output, resources=Resource(opened)),
        r"no tuple of Resource; write resources = \(",
        id="one",
    ),
    pytest.param(lambda: with_process(input_output, resources=(opened,)), "is no Resource; make one", id="a function"),
    pytest.param(lambda: stage(resources=(5,))(of_element), "5 in resources= is no Resource", id="@stage"),
]


@contextlib.contextmanager
def opened():
    yield 5


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_what_is_unlawful_is_refused_with_a_way_out(make: Callable[[], StageLike], said: str) -> None:
    """semantics 3.5, bad input: at the latest where the stage is added, and never inside a run."""
    with pytest.raises(StageDefinitionError, match=said) as caught:
        as_stage(make())
    assert caught.value.findings[0].hint


def test_parameters_may_have_other_names() -> None:
    """semantics 3.5: only those that say the opposite of what is declared are refused."""
    for ports in ({}, {"inputs": ONE}, {"outputs": ONE}, {"inputs": ONE, "outputs": ONE}):
        spec = as_stage(with_process(other_names, **ports))
        assert (bool(spec.input_ports), bool(spec.output_ports)) == ("inputs" in ports, "outputs" in ports)


# Resources


def test_a_stage_lists_what_it_shares() -> None:
    """semantics 3.4: an attribute in every form of class, a keyword of `@stage`."""
    first, second = Resource(opened), Resource(opened, name="second")

    class Using(BaseStage):
        resources = (first, second)

        async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
            raise AssertionError

    class PlainUsing:
        name = "plain"
        resources = (second,)
        process = Using.process

    specs: list[StageSpec] = [
        as_stage(one)
        for one in (Using, Using(), PlainUsing(), stage(resources=(first,))(of_element), MapStage(of_element))
    ]

    assert [one.resources for one in specs] == [(first, second), (first, second), (second,), (first,), ()]
