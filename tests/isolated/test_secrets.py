"""What others print of our frames: pytest with locals, rich, the debug mode of asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEY = "sk-test-0123456789abcdefSECRET" * 4  # longer than what is shown of a text

PRELUDE = f"""
import sys
sys.path.append({str(ROOT)!r})
"""

# The key comes from the environment: what a caller's own frames hold is not ours to hide.
CALLS = f"""
{PRELUDE}
import asyncio, json, logging
import pytest
from imagesdk import ImageSession, RetryPolicy
from tests.integration.fault_steps import echoes_key, hangs_after
from tests.integration.raw_server import *

logging.basicConfig(level=logging.DEBUG)
KEYS_OWN_ADDRESS = says(json.dumps({{"data": [{{"url": "http://169.254.169.254/"}}]}}).encode())

async def call(*steps, save_to=None, read=False):
    async with RawServer(*steps) as server, ImageSession(
        base_url=server.url, retry=RetryPolicy(2, backoff=0.001)
    ) as images:
        async with asyncio.timeout(0.05):
            response = await images.generate("a fox", save_to=save_to)
            if read:
                await response.data[0].read()

async def stream(*steps):
    async with RawServer(*steps) as server, ImageSession(base_url=server.url) as images:
        async with asyncio.timeout(0.05):
            async for event in images.stream_generate("a fox", model="gpt-image-1"):
                pass

def listener(event):
    raise RuntimeError("a listener of the caller fails")

def before_send(request):
    raise RuntimeError("a hook of the caller fails")

async def hook():
    async with RawServer() as server, ImageSession(
        base_url=server.url, on_event=listener
    ) as images:
        async for outcome in images.map(["a fox"], before_send=before_send):
            pass
"""

TESTS = f"""
{CALLS}
def test_echo(): asyncio.run(call(echoes_key))
def test_reset(): asyncio.run(call(*[reset_after_request] * 2))
def test_hang(): asyncio.run(call(hang))
def test_hang_in_the_answer(): asyncio.run(call(hangs_after(b"{{")))
def test_hang_in_the_download(): asyncio.run(call(KEYS_OWN_ADDRESS, read=True))
def test_hang_to_disk(tmp_path): asyncio.run(call(hang, save_to=tmp_path))
def test_stream(): asyncio.run(stream(hang))
def test_hook(): asyncio.run(hook())
def test_constructor_validate(): ImageSession(validate="maybe")
def test_constructor_url(): ImageSession(base_url="ftp://server/v1")
def test_constructor_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "\\u00e9" + __import__("os").environ["OPENAI_API_KEY"])
    ImageSession(base_url="http://127.0.0.1:9/v1")
"""


def _run(*command: str, cwd: Path) -> str:
    """Run Python with the key in its environment; return all that it prints."""
    ran = subprocess.run(
        [sys.executable, "-P", *command],
        cwd=cwd,
        env={
            "OPENAI_API_KEY": KEY,
            "PATH": "",
            "NO_COLOR": "1",
            "COLUMNS": "300",
            "PYTHONASYNCIODEBUG": "1",
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return ran.stdout + ran.stderr


def test_pytest_with_locals(tmp_path: Path) -> None:
    """A failing test of an application, shown with locals and debug logs, shows no key."""
    (tmp_path / "test_app.py").write_text(TESTS)
    shown = _run("-m", "pytest", "-vv", "--showlocals", "-p", "no:randomly", cwd=tmp_path)
    assert "11 failed" in shown
    assert "hidden headers" in shown  # locals were shown
    assert KEY[:30] not in shown


def test_rich_with_locals(tmp_path: Path) -> None:
    """Neither does a traceback of rich, which takes containers and long texts apart."""
    pytest.importorskip("rich")
    (tmp_path / "app.py").write_text(
        CALLS
        + """
from rich.console import Console
from rich.traceback import Traceback

def show(function):
    try:
        function()
    except BaseException as error:
        Console(file=sys.stdout).print(
            Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, width=200)
        )

show(lambda: asyncio.run(call(echoes_key)))
show(lambda: asyncio.run(call(hang)))
show(lambda: ImageSession(validate="maybe"))
"""
    )
    shown = _run("app.py", cwd=tmp_path)
    assert "validate is 'maybe'" in shown
    assert "hidden headers" in shown
    assert KEY[:30] not in shown
