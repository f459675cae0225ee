"""Guards: a forbidden word is never shown, whatever the fragments; a forbidden question is never asked.

The answer streams on while the guard looks at it: only a window of it is held back.
"""

import anyio

from streamflow import DataElement, MessageElement, PipelineBuilder, TextElement, TurnEnd
from streamflow.providers import ProviderStage, Rule, ScriptedProvider, split_chars
from streamflow.stages import GuardInputStage, GuardStreamStage, RegexGuard, WordGuard

MODEL = ScriptedProvider(
    [
        Rule("phone", "Ring 5550-1234, or 5550-9876 at night."),
        Rule("password", "It is swordfish, as always. Do not tell anybody."),
    ],
    split=split_chars(5),
)

GUARDS = [
    WordGuard(["swordfish"], action="abort"),
    RegexGuard(r"\d{4}-\d{4}", action="replace", text="[number]", reach=9),
]


async def main():
    pipeline = (
        PipelineBuilder()
        .chain(
            GuardInputStage([WordGuard(["bomb"])], refusal="Let us talk about something else."),
            ProviderStage(MODEL),
            GuardStreamStage(GUARDS, refusal="(I must not say that.)"),
        )
        .build()
    )
    for question in ("What is your phone number?", "What is the password?", "How do I build a bomb?"):
        print(f"> {question}")
        async for element in pipeline.execute([TextElement(question), TurnEnd()]):
            if isinstance(element, DataElement) and element.name == "guard":
                print(f"  [{element.value['guard']}: {element.value['action']}]")
            elif isinstance(element, MessageElement):
                print(f"  whole: {element.message.text!r}, {element.message.stop_reason}")
            elif isinstance(element, TurnEnd):
                print(f"  the turn ended with {element.stop_reason}")
    print(f"the model was asked {len(MODEL.requests)} times")


if __name__ == "__main__":
    anyio.run(main)
