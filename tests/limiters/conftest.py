from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Run a real redis-server and return its unix socket."""
    program = shutil.which("redis-server")
    if program is None:
        missing = "redis-server is missing, and this test needs a real one: install it"
        if "IMAGESDK_TEST_SERVERS" in os.environ:  # as in .ci/run: there, nothing is skipped
            pytest.fail(missing)
        pytest.skip(missing)
    with tempfile.TemporaryDirectory(prefix="redis") as folder:  # a short path: sockets need one
        path = Path(folder) / "redis.sock"
        options = ("--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", str(path))
        server = subprocess.Popen([program, *options, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            for _ in range(500):
                with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                    break
                signal.sigtimedwait([], 0.01)
            yield path
        finally:
            server.kill()
            server.wait()
