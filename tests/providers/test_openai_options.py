"""What `OpenAIProvider` takes: arguments, environment, the optional package."""

import re
import subprocess
import sys
import traceback

import pytest

from streamflow.errors import ConfigError, MissingExtraError
from streamflow.providers import OpenAIProvider

BASE = "http://model.test:8000/v1"
KEY = "sk-planted-0123456789"


@pytest.mark.parametrize(
    "base_url",
    [
        *["", "model.test/v1", "ftp://model.test/v1", "http://", "http://model.test:port/v1", "http://[::1/v1"],
        *["http://model.test/ v1", "http://model.test/v1\n", f"http://me:{KEY}@model.test/v1"],
        *[f"http://model.test/v1?key={KEY}", f"http://model.test/v1#{KEY}"],
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(base_url):
    """Wrong arguments fail in the constructor; an address may hold a secret."""
    with pytest.raises(ConfigError, match="base_url") as caught:
        OpenAIProvider(base_url)

    assert KEY not in "".join(traceback.format_exception(caught.value)[-1:])


@pytest.mark.parametrize("api_key", [f"{KEY}\nX-Other: 1", f"{KEY}\x00", f"{KEY}ü", f"Bearer {KEY}"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(api_key):
    """The HTTP client would refuse it too, and quote it."""
    with pytest.raises(ConfigError, match="api_key") as caught:
        OpenAIProvider(BASE, api_key=api_key)

    assert KEY not in str(caught.value)


@pytest.mark.parametrize("field", ["timeout_s", "connect_timeout_s", "max_event_bytes", "max_answer_chars"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_out_of_range_are_refused(field, value):
    """There is always a limit."""
    with pytest.raises(ConfigError, match=field):
        OpenAIProvider(BASE, **{field: value})


def test_its_repr_tells_the_address_and_the_model():
    """For logs; the key is not told, see above."""
    assert repr(OpenAIProvider(f"{BASE}/", model="m", api_key=KEY)) == f"<OpenAIProvider 'openai' {BASE} model='m'>"


def test_certificates_are_verified():
    """TLS without verification is no TLS; it is not even an option."""
    context = OpenAIProvider("https://model.test/v1")._tls

    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_the_environment_says_whom_to_ask(monkeypatch):
    """The variables that every tool for this wire knows."""
    monkeypatch.setenv("OPENAI_BASE_URL", BASE)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "m")
    assert repr(OpenAIProvider.from_env()) == f"<OpenAIProvider 'openai' {BASE} model='m'>"
    monkeypatch.delenv("OPENAI_MODEL")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert repr(OpenAIProvider.from_env()) == f"<OpenAIProvider 'openai' {BASE} model=None>"


def test_without_an_address_the_environment_means_openai_and_needs_a_key(monkeypatch):
    """A missing key is told at once, and not by a server."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY: is not set, nor is OPENAI_BASE_URL"):
        OpenAIProvider.from_env()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert "https://api.openai.com/v1" in repr(OpenAIProvider.from_env())


def test_without_httpx2_the_error_names_the_extra(monkeypatch):
    """Told in the constructor, with the command that helps."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=re.escape("streamflow-runtime[http]")):
        OpenAIProvider(BASE)


@pytest.mark.parametrize(
    "code",
    [
        "import sys, streamflow.providers as p; assert 'httpx2' not in sys.modules",
        "import sys, streamflow.providers as p; p.OpenAIProvider('http://a.test'); assert 'httpx2' in sys.modules",
    ],
)
def test_httpx2_is_imported_by_the_constructor_and_by_nothing_else(code):
    """Optional, so not before it is needed; slow, so not in the middle of a running event loop."""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
