"""The jobs of a batch on a Ray cluster: the same worker in actors, here or on other machines.

The only module that uses Ray. An actor that dies is started again by Ray, which sends nothing again by
itself (``max_task_retries=0``): what was in flight is for the ledger to judge.
https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html (read 2026-11-26)

What the driver and a worker say to each other are plain calls with one answer each. Streaming
generators would do, but not through Ray Client (``ray://``), which refuses them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from imagesdk.batch.destination import is_url
from imagesdk.batch.engine import AfterAttempt, BeforeSend, Report, WorkerLost
from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.remote import (
    LimiterHost,
    RemoteLimiter,
    Step,
    WorkerHost,
    foresee,
)
from imagesdk.batch.worker import WorkerSpec
from imagesdk.errors import ConfigurationError, ImageSDKError
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter

__all__ = ("RayEngine",)

_LOCAL = "local"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers of each run
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it would print what it says of lost workers among our output
}
_LOCAL_ENVIRONMENT = {
    # Ray's own default on macOS and Windows: a cluster of one machine listens on 127.0.0.1 alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
_REFRESH = 1.0
"""Seconds between looks at the limit, for the progress."""
_AGAIN = 0.2
"""Seconds before a limiter that does not answer is asked again: it is being started anew."""


@attrs.define(eq=False)
class _Seat:
    """A worker, and how many jobs it has."""

    actor: Any
    busy: int = 0


class RayEngine:
    """Does jobs on a Ray cluster: an `imagesdk.batch.engine.Engine`, as ``async with RayEngine(spec)``.

    Needs the extra ``ray``: ``python -m pip install 'imagesdk[ray]'``. A cluster that the program is
    connected to is used, and left as it is.

    Args:
        spec: How each worker sets itself up. Its folder for the images must be one that all machines see
            under the same name, which is looked at first, and so must the folders of the jobs' input images.
        address: ``"ray://HOST:PORT"`` or whatever else ``ray.init`` takes; None for ``RAY_ADDRESS``, or
            else for a cluster of this machine alone, which ends with the engine.
        workers: Actors, 1 or more; None for one on each machine.
        concurrency: Most jobs at once, in all of them together.
        environment: Further environment variables of the workers. They are no place for a secret:
            Ray shows them.

    Raises:
        ConfigurationError: Ray is missing or cannot be reached, or a worker cannot be set up.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        address: str | None = None,
        workers: int | None = None,
        concurrency: int = 1000,
        environment: dict[str, str] | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigurationError(f"workers is {workers!r}; it must be 1 or more")
        self._spec = spec
        self._here = Path()
        self._token: Path | None = None
        self._address = address
        self._workers = workers
        self._concurrency = concurrency
        self._environment = environment
        self._ray: Any = None
        self._is_ours = False
        self._limiter: Any = None
        self._seats: list[_Seat] = []
        self._snapshot = NoLimiter().snapshot()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._connect)
            await self._make_ready()
        except BaseException:
            await asyncio.to_thread(self._leave)
            raise
        self._watch = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        with suppress(self._ray.exceptions.RayError):
            await asyncio.gather(*(seat.actor.aclose.remote() for seat in self._seats))
        await asyncio.to_thread(self._leave)

    async def do(
        self, entry: Entry, before_send: BeforeSend, after_attempt: AfterAttempt
    ) -> Report:
        """Have the worker with the fewest jobs do one; see `imagesdk.batch.engine.Engine`.

        Of attempts it tells nothing: that would be one more message for each.

        Raises:
            WorkerLost: The worker ended, or cannot be reached.
        """
        del after_attempt
        key = str(entry.idempotency_key)
        job = attrs.evolve(entry.job, folder=self._here / entry.job.folder)
        seat = min(self._seats, key=lambda each: each.busy)
        seat.busy += 1
        try:
            step: Step = await seat.actor.begin.remote(attrs.evolve(entry, job=job, record=None))
            while step is None:
                refusal: ImageSDKError | None = None
                try:
                    await before_send()
                except ImageSDKError as error:  # the worker knows whether it was sent before
                    refusal = error
                step = await seat.actor.proceed.remote(key, refusal)
        except self._ray.exceptions.RayTaskError:  # a mistake of ours
            raise
        except self._ray.exceptions.RayError as error:
            first_line = str(error).partition("\n")[0]
            raise WorkerLost(f"a worker was lost: {first_line}") from error
        except BaseException:
            seat.actor.drop.remote(key)
            raise
        finally:
            seat.busy -= 1
        if isinstance(step, Exception):
            raise step
        return step

    def snapshot(self) -> LimiterSnapshot:
        """Return the state of the limit, at most about a second old."""
        return self._snapshot

    def forecast(self, images: int, requests: int) -> float:
        """Return the seconds until the last of so many could be sent, by `snapshot`."""
        del requests
        return foresee(self._snapshot, images)

    async def _make_ready(self) -> None:
        token = None if self._token is None else f"{ARRIVING}/{self._token.name}"
        ready = (seat.actor.ready.remote(token) for seat in self._seats)
        try:
            for error in await asyncio.gather(*ready):
                if error is not None:
                    raise error
        finally:
            if self._token is not None:
                await asyncio.to_thread(self._token.unlink)

    async def _look(self) -> None:
        while True:
            with suppress(self._ray.exceptions.RayError):
                teller = self._seats[0].actor if self._limiter is None else self._limiter
                self._snapshot = await teller.snapshot.remote() or self._snapshot
            await asyncio.sleep(_REFRESH)

    # In a thread ----------------------------------------------------------------------------------

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS") or _LOCAL
        settings = _ENVIRONMENT | (_LOCAL_ENVIRONMENT if address == _LOCAL else {})
        for name, value in settings.items():
            os.environ.setdefault(name, value)  # Ray reads them when it is imported
        try:
            import ray
        except ImportError as error:
            raise ConfigurationError(
                "this needs Ray: python -m pip install 'imagesdk[ray]'"
            ) from error
        self._ray = ray
        if not ray.is_initialized():
            try:
                ray.init(
                    address,
                    include_dashboard=False if address == _LOCAL else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
                raise ConfigurationError(f"Ray cannot be reached: {error}") from error
            self._is_ours = True
        self._here = Path.cwd()
        if not is_url(self._spec.out):
            out = self._here / self._spec.out
            self._spec = attrs.evolve(self._spec, out=out)
            self._token = (
                out / ARRIVING / f"{secrets.token_hex(8)}.part"
            )  # a kill may leave it there
            self._token.parent.mkdir(parents=True, exist_ok=True)
            self._token.touch()
        workers = self._workers or sum(node["Alive"] for node in ray.nodes())
        shared = None if self._spec.limiter is not None else self._spec.make_limiter()
        known_as: str | None = None
        if isinstance(shared, ImageLimiter):
            known_as = f"imagesdk-limiter-{secrets.token_hex(4)}"
            limiter = ray.remote(_LimiterActor).options(
                name=known_as,
                num_cpus=0,
                max_restarts=-1,
                max_concurrency=2 * self._concurrency + 100,
            )
            self._limiter = limiter.remote(self._spec)
        worker = ray.remote(_WorkerActor).options(
            num_cpus=0,  # they wait for the network; a cluster that is full does them, too
            scheduling_strategy="SPREAD",
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=self._concurrency + 10,
            runtime_env={"env_vars": self._environment} if self._environment else None,
        )
        self._seats = [
            _Seat(worker.remote(self._spec, number, known_as)) for number in range(workers)
        ]

    def _leave(self) -> None:
        if self._ray is None:
            return
        for actor in (*(seat.actor for seat in self._seats), self._limiter):
            if actor is not None:
                self._ray.kill(actor)
        if self._is_ours:
            self._ray.shutdown()


# In the actors ------------------------------------------------------------------------------------


class _WorkerActor(WorkerHost):
    """A worker in a process of its own."""

    def __init__(self, spec: WorkerSpec, number: int, limiter_name: str | None) -> None:
        shared = None
        if limiter_name is not None:
            import ray

            limiter = ray.get_actor(limiter_name)
            limiter.join.remote(number)
            shared = RemoteLimiter(number, spec.make_limiter(), _Caller(limiter))
        super().__init__(spec, shared)

    async def pid(self) -> int:
        """Return the number of the process."""
        return os.getpid()


class _LimiterActor(LimiterHost):
    """The limiter of all workers."""

    def __init__(self, spec: WorkerSpec) -> None:
        import ray

        lost = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(spec.make_limiter(), after_loss=lost)


@attrs.frozen
class _Caller:
    """Calls a method of the limiter's actor, again if that is being started anew."""

    actor: Any

    async def __call__(self, name: str, argument: object) -> object:
        from ray.exceptions import RayActorError

        while True:
            try:
                return await getattr(self.actor, name).remote(argument)
            except RayActorError:
                if name == "settle":  # nothing is counted there any more
                    return None
                await asyncio.sleep(_AGAIN)
