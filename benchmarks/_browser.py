"""A headless Chromium, spoken to in its DevTools protocol over a pipe: no port, no driver, no package.

https://chromedevtools.github.io/devtools-protocol/ (read 2026-11-26)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ("PROGRAMS", "Browser", "find_program")

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "/": (191, "/")} | {
    f"Arrow{name}": (code, "")
    for name, code in (("Left", 37), ("Up", 38), ("Right", 39), ("Down", 40))
}


def find_program() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One page in a Chromium of its own: ``with Browser(program) as browser``.

    Args:
        program: Path of Chromium.
        width: Of the window, in CSS pixels.
        height: Of the window.
        scale: Device pixels for each of them.
        dark: Whether the page is to be dark.

    Attributes:
        complaints: What the page wrote to the console as errors, and exceptions that nobody caught.
    """

    def __init__(
        self,
        program: str,
        *,
        width: int = 1280,
        height: int = 800,
        scale: float = 1.0,
        dark: bool = False,
    ) -> None:
        self.complaints: list[str] = []
        self._profile = tempfile.TemporaryDirectory(
            prefix="imagesdk-browser-", ignore_cleanup_errors=True
        )
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # It reads from descriptor 3 and writes to 4.
        command = f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}'
        self._process = subprocess.Popen(  # noqa: S603 - what the caller names
            [
                "/bin/sh",
                "-c",
                command,
                "sh",
                program,
                *_OPTIONS,
                f"--user-data-dir={self._profile.name}",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number = 0
        self._session: str | None = None
        self._buffer = bytearray()
        self._seen: set[str] = set()
        try:
            self._set_up(width, height, scale, dark=dark)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove what it wrote."""
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def _set_up(self, width: int, height: int, scale: float, *, dark: bool) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Performance"):
            self.call(f"{domain}.enable")
        self.resize(width, height, scale)
        self.darken(on=dark)

    def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 - JSON data
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Give the window another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def darken(self, *, on: bool) -> None:
        """Ask pages to be dark, or to be light."""
        scheme = "dark" if on else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def open(self, page: Path | str, fragment: str = "") -> None:
        """Open a file or a URL, and wait until it is loaded."""
        url = page if isinstance(page, str) else page.resolve().as_uri()
        self._seen.clear()
        self.call("Page.navigate", url="about:blank")
        self._wait("Page.loadEventFired")
        self._seen.clear()
        self.call("Page.navigate", url=url + fragment)
        self._wait("Page.loadEventFired")

    def run(self, script: str) -> Any:  # noqa: ANN401 - JSON data
        """Evaluate an expression in the page, wait for it if it is a promise, and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def settle(self) -> None:
        """Wait until what can be seen is drawn, pictures included."""
        self.run(
            """(async () => {
              const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
              await frame();
              const near = [...document.images].filter((image) => {
                const box = image.getBoundingClientRect();
                return box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
              });
              await Promise.all(near.map((image) => image.complete || new Promise((done) => {
                image.addEventListener("load", done); image.addEventListener("error", done);
              })));
              await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => 0)));
              await frame();
            })()"""
        )

    def press(self, *keys: str) -> None:
        """Press keys one after the other: ``"Enter"``, ``"ArrowDown"``, ``"/"``, or letters."""
        for key in keys:
            code, text = _KEYS.get(key, (ord(key[0].upper()), key))
            same = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
            self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def click(self, selector: str) -> None:
        """Click into the middle of the first element that fits."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path, *, quality: int | None = None) -> None:
        """Save what can be seen: as PNG, as WebP if a *quality* is given."""
        self.settle()
        kind = {"format": "png"} if quality is None else {"format": "webp", "quality": quality}
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", **kind)["data"]))

    def _wait(self, event: str) -> None:
        while event not in self._seen:
            self._receive()

    def _send(self, message: bytes) -> None:
        while message:
            message = message[os.write(self._to, message) :]

    def _receive(self) -> dict[str, Any]:
        while (end := self._buffer.find(b"\0")) < 0:
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError(f"Chromium ended with status {self._process.wait()}")
            self._buffer += piece
        message: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method", ""), message.get("params", {})
        self._seen.add(method)
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
