"""Run clients against the server: each measurement in a process of its own, the clients in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from benchmarks._peers_client import WARM_UP_BYTES, Settings, kernel_bytes
from benchmarks._peers_server import picture
from benchmarks._peers_workloads import Workload

__all__ = ("Rounds", "Runner", "available_bytes", "prepared_server", "run_python")

Rounds: TypeAlias = dict[str, list[dict[str, float]]]
"""For each client what each round has measured: the fields of `Measured`, and ``requests``."""
_TIMEOUT = 300.0
_ROOT = Path(__file__).parents[1]


def available_bytes() -> int:
    """Return the memory that programs may take without swapping."""
    return kernel_bytes("meminfo", "MemAvailable")


def run_python(interpreter: str, *arguments: str) -> str:
    """Run a program from the root of the repository; return what it prints last.

    Raises:
        RuntimeError: It failed; the end of what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own programs
        [interpreter, *arguments],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-800:] or f"exit code {done.returncode}")
    return done.stdout.strip().rpartition("\n")[2]


@contextlib.contextmanager
def prepared_server() -> Iterator[int]:
    """Run `benchmarks._peers_server` in a process of its own, and give its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks._peers_server"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


class Runner:
    """A server, and folders for what is sent and saved.

    Args:
        server: Where it is, without a path.
        folder: Temporary.
        litellm: An interpreter that has LiteLLM, None for no such client.

    Attributes:
        failures: Of the last workload.
    """

    def __init__(self, server: str, folder: str, litellm: str | None) -> None:
        self._server = server
        self._folder = folder
        self._litellm = litellm
        self.failures: list[str] = []

    @classmethod
    @contextlib.contextmanager
    def start(cls, litellm: str | None) -> Iterator[Runner]:
        """Start the server; it ends with the block."""
        with (
            tempfile.TemporaryDirectory(prefix="imagesdk-benchmarks-") as folder,
            prepared_server() as port,
        ):
            yield cls(f"http://127.0.0.1:{port}", folder, litellm)

    def clients_of(self, workload: Workload) -> tuple[str, ...]:
        """Return the clients that can be run."""
        absent = () if self._litellm else ("LiteLLM",)
        return tuple(client for client in workload.clients if client not in absent)

    def run(self, workload: Workload, rounds: int, tell: Callable[[str], None]) -> Rounds:
        """Run a workload with all its clients in turn, *rounds* times.

        A client that fails is left out, and what it said is added to `failures`.
        """
        self.failures.clear()
        for size in (workload.size_bytes, min(workload.size_bytes, WARM_UP_BYTES)):
            Path(self._folder, f"{size}.png").write_bytes(picture(size))
        results: Rounds = {client: [] for client in self.clients_of(workload)}
        for number in range(rounds):
            for client in tuple(results):
                tell(f"{workload.name}: round {number + 1} of {rounds}, {client}")
                try:
                    results[client].append(self._once(workload, client))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    del results[client]
                    self.failures.append(f"FAILED: {client}, {workload.name}: {error}")
                    tell(self.failures[-1])
        return results

    def _once(self, workload: Workload, client: str) -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            settings = Settings(
                client=client,
                kind=workload.kind,
                server=self._server,
                requests=workload.requests_of(client),
                concurrency=workload.concurrency,
                size_bytes=workload.size_bytes,
                n=workload.n,
                form=workload.form,
                originals=self._folder,
                folder=folder,
            )
            program = ("-m", "benchmarks._peers_client", json.dumps(dataclasses.asdict(settings)))
            interpreter = self._litellm if client == "LiteLLM" and self._litellm else sys.executable
            measured = json.loads(run_python(interpreter, *program))
        figures = {field: value for field, value in measured.items() if value is not None}
        figures["requests"] = settings.requests
        return figures
