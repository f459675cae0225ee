"""The doubles: what the script says, an error for all else, and for what is left."""

from __future__ import annotations

import anyio
import pytest

from streamflow import AudioElement, Message, StageError, TextElement
from streamflow.providers import ModelRequest, ScriptedProvider
from streamflow.providers import Rule as Answering
from streamflow.testing import (
    Called,
    Heard,
    ScriptedSTT,
    ScriptedTool,
    ScriptedTTS,
    ScriptError,
    Spoken,
    StrictProvider,
    run_stage,
)


def sound(*several: bytes) -> list[AudioElement]:
    return [AudioElement(one, 16000, 1) for one in several]


async def test_a_scripted_stt_hears_what_its_script_says() -> None:
    """testing.ScriptedSTT: by number of chunks, by their bytes, in its time."""
    steps = [Heard("hello", chunks=2), Heard("world", data=b"cc", delay_s=3), "again"]
    with ScriptedSTT(steps) as stt:
        got = await run_stage(stt, sound(b"aa", b"bb", b"cc", b"dd"), capacity=1)
    assert [one.text for one in got] == ["hello", "world", "again"]
    assert anyio.current_time() == 3


@pytest.mark.parametrize(
    ("steps", "given", "told"),
    [
        ([], sound(b"aa"), "2 bytes of audio came; nothing more is expected"),
        ([Heard("a", data=b"x")], sound(b"aa"), "other audio came, 2 bytes; expected Heard"),
        ([Heard("a", chunks=2)], sound(b"aa"), "the audio ended after 1 chunks"),
    ],
)
async def test_unexpected_audio_fails_the_stage_and_is_told_at_the_end(steps, given, told) -> None:
    """testing.ScriptedSTT: where it comes, and again where the test ends."""
    stt = ScriptedSTT(steps)
    with pytest.raises(StageError) as caught:
        await run_stage(stt, given)
    assert told in str(caught.value.__cause__)
    with pytest.raises(ScriptError, match="stt: "):
        stt.assert_consumed()


async def test_a_scripted_tts_says_what_its_script_says() -> None:
    """testing.ScriptedTTS: fragments are joined, audio comes in its pieces, errors behind them."""
    with ScriptedTTS([Spoken("hello", [b"aa", b"bb"], delay_s=1), "world"]) as tts:
        got = await run_stage(tts, ["hel", "lo", "world"])
    assert [one.data for one in got] == [b"aa", b"bb", b"\0\0"]
    assert anyio.current_time() == 2
    with pytest.raises(StageError, match="no voice"):
        await run_stage(ScriptedTTS([Spoken("a", error=OSError("no voice"))]), ["a"])
    for given in (["other"], ["hell"], ["hello", "more"]):
        with pytest.raises(StageError) as caught:
            await run_stage(ScriptedTTS(["hello"]), given)
        assert isinstance(caught.value.__cause__, ScriptError)


async def test_what_was_not_played_is_told() -> None:
    """testing: a test that never came to its last steps has not tested them."""
    with pytest.raises(ScriptError, match="1 steps were not played, first Spoken"), ScriptedTTS(["a", "b"]) as tts:
        await run_stage(tts, ["a"])


async def test_a_scripted_tool_knows_how_it_will_be_called() -> None:
    """testing.ScriptedTool: with these arguments, in this order, so often."""
    steps = [Called("sunny", {"city": "Oslo"}), Called(error=OSError("down")), Called(3, delay_s=2)]
    with ScriptedTool("weather", steps) as weather:
        assert await weather(city="Oslo") == "sunny"
        with pytest.raises(OSError, match="down"):
            await weather(city="Rome")
        assert await weather() == 3
    with pytest.raises(ScriptError, match=r"weather: it was called with {'city': 'Rome'}; expected Called"):
        await ScriptedTool("weather", steps)(city="Rome")
    assert weather.name == "weather"


async def test_a_strict_provider_refuses_what_is_not_expected() -> None:
    """testing.StrictProvider: it checks the request, another provider answers."""

    def asked(text):
        return lambda request: request.messages[-1].text == text

    inner = ScriptedProvider([Answering("hello", "Hi!")])
    with StrictProvider(inner, [asked("hello")]) as model:
        request = ModelRequest(messages=(Message("user", "hello"),))
        texts = [one.text async for one in model.stream(request) if isinstance(one, TextElement)]
        assert "".join(texts) == "Hi!"
        assert model.name == inner.name
    with pytest.raises(ScriptError, match="nothing more is expected"):
        model.stream(request)
    strict = StrictProvider(inner, [asked("goodbye")])
    with pytest.raises(ScriptError, match="a call with 1 messages came"):
        strict.stream(request)
    with pytest.raises(ScriptError, match="not played"):
        strict.assert_consumed()
