"""Nesting: a pipeline as a part of another, a function that adds the same stages twice, a variant, and a picture of it all."""

import json

import anyio

from streamflow import FilterStage, PassthroughStage, Pipeline, PipelineBuilder, TextElement


def strip(element: TextElement) -> TextElement:
    return element.replace(text=element.text.strip())


def has_text(element: TextElement) -> bool:
    return bool(element.text)


# A pipeline like any other: it can be run alone, and be a part of others.
CLEAN = PipelineBuilder().chain(strip, FilterStage(has_text)).build()


def add_voice(builder: PipelineBuilder, sign: str) -> None:
    """Add the stages of one voice. Called twice with two prefixes, their names do not clash."""

    def accent(element: TextElement) -> TextElement:
        return element.replace(text=element.text + sign)

    builder.chain(PassthroughStage("breath"), accent)


def make_choir() -> PipelineBuilder:
    builder = PipelineBuilder().add(CLEAN.as_stage("clean"))
    add_voice(builder.prefixed("loud"), "!")
    add_voice(builder.prefixed("soft"), "~")
    # The name of a nested pipeline, or a prefix, stands for all that is inside: edges go in at its head, and out at its leaves.
    return builder.branch("clean", "loud", "soft").merge(PassthroughStage("choir"), "loud", "soft")


async def sung(pipeline: Pipeline) -> list[str]:
    result = await pipeline.run(["  la ", " ", "li"])
    return sorted(element.text for element in result.elements if isinstance(element, TextElement))


async def main():
    builder = make_choir()
    choir = builder.build()
    print("choir:", await sung(choir))

    # A clone goes its own way: the variant has one more stage behind the last one, which is named.
    def hum(element: TextElement) -> TextElement:
        return element.replace(text=f"mm-{element.text}")

    print("variant:", await sung(builder.clone().chain("choir", hum).build()))
    print("choir:", await sung(builder.build()))

    print("\n--- as words\n")
    print(choir.explain())
    print("\n--- as a picture, in Mermaid; `to_dot()` and `to_svg()` are for Graphviz\n")
    print(choir.to_mermaid())

    # As data: what can be stored, or shown by another program. Stages are code, so they are named, and given again.
    stored = json.dumps(CLEAN.to_dict())
    again = Pipeline.from_dict(json.loads(stored), {"strip": strip, "has_text": FilterStage(has_text)})
    print("--- as data, and made again\n")
    print(json.loads(stored)["graph"]["edges"], await sung(again))


if __name__ == "__main__":
    anyio.run(main)
