"""The page of a chat application, in headless Chromium: what a user sees while an answer comes, stops, and is come back to."""

from __future__ import annotations

import threading

import anyio.to_thread
import pytest
from chat_server import ChatServer, GatedModel
from chromium import Browser

from streamflow.agents import tool
from streamflow.apps import ChatService, chat_app, chat_pipeline
from streamflow.providers import ScriptedProvider, ScriptTurn, TextStep, ToolCallStep, When
from streamflow.state import MemoryStore

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

TEXT = "[...document.querySelectorAll('.text')].map(one => one.textContent).join('|')"
FREE = "!document.getElementById('send').hidden"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture
def model():
    return GatedModel()


@pytest.fixture
def server(model):
    store = MemoryStore()
    with ChatServer(chat_app(ChatService(store, model), resources=(store,))) as served:
        yield served


def shows(tab, text):
    tab.until(f"{TEXT} === {text!r}")


def test_an_answer_appears_piece_by_piece(browser, server, model):
    """semantics 23.16: each piece is on the page before the next one is there."""
    tab = browser.open(server.address)
    tab.say("Count, please")
    said = ""
    for piece in ("One", ", two", ", three"):
        model.say(piece)
        said += piece
        shows(tab, said)
        assert tab.run("document.getElementById('stop').hidden") is False
    model.end()
    tab.until(FREE)

    assert tab.run(TEXT) == "One, two, three"
    assert tab.run("document.querySelector('.user').innerText").endswith("Count, please")
    assert tab.complaints == []
    tab.close()


def test_what_is_sent_before_the_server_has_named_the_chat_is_not_lost(browser, model):
    """semantics 23.16: Enter, while the page still waits for its chat, sends the message when it has one."""
    named = threading.Event()
    app = chat_app(chat_pipeline(model))

    async def slow(scope, receive, send):
        if (scope["type"], scope.get("method")) == ("http", "POST") and scope["path"] == "/api/chats":
            await anyio.to_thread.run_sync(named.wait)
        await app(scope, receive, send)

    with ChatServer(slow) as server:
        tab = browser.open(server.address)
        tab.say("Begin")
        tab.run("new Promise(done => setTimeout(done))")
        assert tab.run("document.querySelectorAll('.user').length") == 0
        named.set()
        model.say("One")
        shows(tab, "One")
        model.end()
        tab.until(FREE)
        assert tab.run("document.querySelectorAll('.user').length") == 1
        tab.close()


def test_the_stop_button_stops_the_model_and_keeps_what_was_said(browser, server, model):
    """semantics 23.16: the model call is cancelled, and the page says so, also when it is loaded anew."""
    tab = browser.open(server.address)
    tab.say("Tell me all")
    model.say("Once upon")
    shows(tab, "Once upon")
    tab.press("stop")
    assert model.ended.wait(15)
    tab.until(FREE)
    tab.until("document.body.innerText.includes('Stopped.')")

    assert model.was_cancelled
    tab.reload()
    shows(tab, "Once upon")
    tab.until("document.body.innerText.includes('Not finished.')")
    tab.close()


def test_a_page_that_is_loaded_anew_goes_on_without_gap_or_double(browser, server, model):
    """semantics 23.16: in the middle of an answer, and in a second tab that is opened beside it."""
    tab = browser.open(server.address)
    tab.say("Begin")
    model.say("One")
    shows(tab, "One")
    tab.reload()
    shows(tab, "One")
    model.say(", two")
    shows(tab, "One, two")
    second = browser.open(tab.run("location.href"))
    shows(second, "One, two")
    model.say(", three")
    model.end()
    for one in (tab, second):
        shows(one, "One, two, three")
        one.until(FREE)
        assert one.run("document.querySelectorAll('.user').length") == 1
    tab.reload()
    shows(tab, "One, two, three")

    assert tab.run("document.querySelectorAll('article').length") == 2
    assert not model.was_cancelled
    tab.close()
    second.close()


def test_what_is_said_is_text_whatever_it_says(browser, server, model):
    """semantics 23.16: markup of the user and of the model is shown, and never run."""
    attack = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>"
    tab = browser.open(server.address)
    tab.say(attack)
    model.say(attack)
    model.end()
    tab.until(FREE)

    assert tab.run(TEXT) == attack
    assert tab.run("document.querySelectorAll('main img, main script').length") == 0
    assert tab.run("window.hit === undefined")
    tab.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hit = 1'}))")
    assert tab.run("window.hit === undefined")
    assert "Content Security Policy" in " ".join(tab.complaints)
    tab.close()


def test_a_call_that_waits_is_asked_about_and_runs_when_it_is_allowed(browser):
    """semantics 23.16: the question is there again when the page is loaded anew."""
    ran = []

    @tool(approve="ask")
    async def send(to: str) -> str:
        """Send it."""
        ran.append(to)
        return "sent"

    script = ScriptedProvider(
        turns=[
            ScriptTurn([ToolCallStep("send", {"to": "Kari"})], when="send"),
            ScriptTurn([TextStep("It is {result}.")], when=When(tool_result="send")),
        ]
    )
    store = MemoryStore()
    with ChatServer(chat_app(ChatService(store, script, tools=[send]), resources=(store,))) as server:
        tab = browser.open(server.address)
        tab.say("Please send it")
        tab.until("document.body.innerText.includes('May the tool send run?')")
        tab.until(FREE)
        assert ran == []
        tab.reload()
        tab.until("document.body.innerText.includes('May the tool send run?')")
        tab.run("document.querySelector('.ask button').click()")
        shows(tab, "It is sent.")
        tab.close()

    assert ran == ["Kari"]


def test_a_connection_that_breaks_is_made_again(browser, model):
    """semantics 23.16: behind the event that came last; here the answer of a pipeline, whose history is in memory."""
    with ChatServer(chat_app(chat_pipeline(model))) as server:
        tab = browser.open(server.address)
        tab.say("Begin")
        model.say("One")
        shows(tab, "One")
        tab.run("cutConnections()")
        tab.until("document.getElementById('tell').textContent !== ''")
        model.say(", two")
        shows(tab, "One, two")
        model.end()
        tab.until(FREE)
        tab.close()
