"""Make the picture of the web backend's page: a fox on its way, and the fox.

``python -m benchmarks.gallery --screenshots docs/screenshots`` makes those of the gallery. Needs Chromium, and is
run from the repository's folder: ``python docs/_tools/screenshots.py``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks._browser import Browser, find_program  # noqa: E402 - the repository is no package

__all__ = ("main",)

_SAID = """new Promise(seen => { const watch = setInterval(() => {
  if (document.querySelector('[role=status]').textContent.startsWith('%s')) { clearInterval(watch); seen(true); }
}, 20); })"""


def main(folder: Path, *, bytes_per_second: int = 150_000) -> None:
    """Run examples/web_backend.py on an emulator that takes its time, and look at it twice.

    Args:
        folder: Where the pictures go.
        bytes_per_second: How fast the emulator answers: in 16 s by itself, so that the first partial
            image is still there when it is looked at.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = find_program()
    if program is None:
        raise SystemExit("there is no Chromium: install one")
    slowly = f"bytes_per_second={bytes_per_second} times=null"
    serve = [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0", "--fault", slowly]
    backend = [sys.executable, str(ROOT / "examples" / "web_backend.py")]
    with subprocess.Popen([*serve, "--", *backend], env=os.environ | {"PORT": port}) as server:
        try:
            _wait_for(int(port))
            with Browser(program, width=560, height=760) as browser:
                browser.open(f"http://127.0.0.1:{port}/")
                browser.click("button")
                for said, name in (
                    ("Getting sharper", "backend-partial"),
                    ("Done", "backend-done"),
                ):
                    browser.run(_SAID % said)
                    browser.settle()
                    browser.screenshot(folder / f"{name}.webp", quality=80)
        finally:
            server.send_signal(signal.SIGINT)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        signal.sigtimedwait([], 0.1)
    raise SystemExit("the backend did not start")


if __name__ == "__main__":
    main(ROOT / "docs" / "screenshots")
