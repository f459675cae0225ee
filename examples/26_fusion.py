"""Stages that share a task: which do, why others do not, and that nothing else depends on it."""

from streamflow import FilterStage, MapStage, Pipeline, PipelineBuilder, PipelineConfig, TextElement


def trim(element: TextElement) -> TextElement:
    return TextElement(element.text.strip())


def has_text(element: TextElement) -> bool:
    return bool(element.text)


async def translate(element: TextElement) -> TextElement:
    return TextElement(f"¡{element.text}!")


def shout(element: TextElement) -> TextElement:
    return TextElement(element.text.upper())


def numbered(element: TextElement) -> TextElement:
    return TextElement(f"- {element.text}")


def build(*, fuse: bool) -> Pipeline:
    stages = [trim, FilterStage(has_text), translate, MapStage(shout), numbered]
    return PipelineBuilder(PipelineConfig(fuse=fuse)).chain(*stages).build()


def tasks(pipeline: Pipeline) -> str:
    return next(block for block in pipeline.explain().split("\n\n") if block.startswith("tasks:"))


def main() -> None:
    given = [" hola", "", "adiós "]
    fused, unfused = build(fuse=True), build(fuse=False)
    print(tasks(fused))
    print(tasks(unfused))
    texts = [pipeline.execute_sync(given).text for pipeline in (fused, unfused)]
    print(texts[0])
    print("the same:", texts[0] == texts[1])


if __name__ == "__main__":
    main()
