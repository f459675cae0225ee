"""Record and replay: a conversation is recorded, looked at, and played again as a test, with the model from the recording."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from streamflow import MapStage, Message, MessageElement, Pipeline, PipelineBuilder, TextElement, TurnEnd
from streamflow.elements import StreamElement
from streamflow.observe import Recording, read_recording
from streamflow.providers import Provider, ProviderStage, Rule, ScriptedProvider
from streamflow.testing import check_replay, recorded_provider


def polite(element: TextElement) -> TextElement:
    return element


def shouting(element: TextElement) -> TextElement:
    return element.replace(text=element.text.upper())


def build(provider: Provider, speak: Callable[[TextElement], TextElement] = polite) -> Pipeline:
    voice = MapStage(speak, name="voice", accepts=TextElement, emits=TextElement)
    return PipelineBuilder().chain(ProviderStage(provider, name="model"), voice).build()


def without_mail(element: StreamElement) -> StreamElement:
    if isinstance(element, MessageElement) and "@" in element.message.text:
        return element.replace(message=Message(element.message.role, "Write to (somebody)"))
    return element


def main(folder: Path) -> None:
    path = folder / "call.rec"
    model = ScriptedProvider([Rule("refund", "It is on its way."), Rule("Write", "Done, I have written.")])
    asked = [Message("user", "Where is my refund?"), Message("user", "Write to ann@example.com")]
    source = [one for message in asked for one in (MessageElement(message), TurnEnd())]

    recording = Recording(path=path, at=["input", "output", "model"], redact=without_mail)
    build(model).execute_sync(source, record=recording)

    run = read_recording(path).run()
    print("recorded at", ", ".join(run.points), "and ended:", run.reason)
    for seen in run.seen_at("input"):
        if isinstance(seen.element, MessageElement):
            print("asked:", seen.element.message.text)

    # A test in one line; the model says what it said, and is not asked.
    [played] = check_replay(path, lambda run: build(recorded_provider(run, "model")))
    print("same:", played.compared)

    try:
        check_replay(path, lambda run: build(recorded_provider(run, "model"), speak=shouting))
    except AssertionError as difference:
        print("changed:", str(difference).partition(": ")[2])

    # A process that was killed leaves half a frame: what is whole is read.
    path.write_bytes(path.read_bytes()[:-100])
    cut = read_recording(path)
    print("cut:", sum(1 for _ in cut) > 30, "- whole:", cut.damage is None, "- ended:", cut.run().reason)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as created:
        main(Path(created))
