"""Say what a run would do, without sending anything and without a trace in its folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs

from imagesdk.batch._estimate import Estimate, add_up
from imagesdk.batch.destination import Destination, destination_of
from imagesdk.batch.entries import Entry, State, Total
from imagesdk.batch.files import is_there, missing_folders
from imagesdk.batch.jobs import Job
from imagesdk.batch.launch import rules_with_prices
from imagesdk.batch.ledger import LEDGER, Ledger
from imagesdk.batch.prices import PriceTable
from imagesdk.batch.records import MANIFEST
from imagesdk.batch.rows import Format
from imagesdk.batch.source import Source, naming, open_source
from imagesdk.client.session import ImageSession

__all__ = ("Plan", "plan")


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        total: Requests of the input, and the images that they ask for.
        duplicates: Requests that are the same as one before: each is made, and paid for.
        before: Requests that earlier runs ended, and that are not to be done, by state.
        to_do: Requests that are to be done.
        in_doubt: Those of them that may have been billed already.
        upload_bytes: Bytes of the images that go with them.
        passed_on: Fields of theirs that are no parameters of ours, with the number of requests. They are sent
            as they are; a server that does not know them may refuse the request.
    """

    total: Total
    duplicates: int
    before: Mapping[State, int]
    to_do: Estimate
    in_doubt: int
    upload_bytes: int
    passed_on: Mapping[str, int]


async def plan(
    source: Source,
    out: Path | Destination,
    session: ImageSession,
    *,
    kind: Format | None = None,
    states: Collection[State] = ("pending", "failed", "in_doubt"),
    allow_changed: bool = False,
    prices: PriceTable | None = None,
) -> Plan:
    """Read and check a whole input as a run would, and say what is to be done.

    Args:
        source: See `imagesdk.batch.launch.run`.
        out: Where the images of the run go; it need not exist, and is not made. What is done is looked for in a
            folder, and believed of a store.
        session: What the requests would be sent with.
        kind: See `imagesdk.batch.launch.run`.
        states: Of the requests that are to be done.
        allow_changed: See `imagesdk.batch.launch.run`.
        prices: Each request must have a price there; None leaves the cost out.

    Raises:
        ConfigurationError: As for a run.
        BatchError: As for a run.
        LedgerError: A run is at work in *out*, or the ledger cannot be read.
    """
    destination = destination_of(out)
    await asyncio.to_thread(missing_folders, destination.folder, destination.here)
    images = None if destination.lists else destination.here
    jobs = open_source(source, kind, rules=rules_with_prices(session, prices))

    def look(entries: Iterator[Entry]) -> tuple[_Seen, Callable[[], Estimate]]:
        seen = _Seen(images=images, states=states)
        return seen, add_up(session, seen.to_do(entries), prices)

    async with _folder_for(destination.folder) as folder, Ledger(folder) as ledger:
        with naming(source):
            total, duplicates, (seen, estimated) = await ledger.rehearse(
                jobs, look, allow_changed=allow_changed
            )
    return Plan(
        total=total,
        duplicates=duplicates,
        before=seen.before,
        to_do=estimated(),
        in_doubt=seen.in_doubt,
        upload_bytes=seen.upload_bytes,
        passed_on=seen.passed_on,
    )


@asynccontextmanager
async def _folder_for(out: Path) -> AsyncIterator[Path]:
    """Give the folder of a run, or one for a while if there was none."""
    if await asyncio.to_thread((out / LEDGER).is_file):
        yield out
        return
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp))
    try:
        with suppress(FileNotFoundError):  # a run without a ledger makes one from the manifest
            await asyncio.to_thread(shutil.copy, out / MANIFEST, folder)
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


@attrs.define(kw_only=True)
class _Seen:
    """Counts requests while they go by."""

    images: Path | None
    states: Collection[State]
    before: Counter[State] = attrs.field(factory=Counter[State], init=False)
    in_doubt: int = attrs.field(default=0, init=False)
    upload_bytes: int = attrs.field(default=0, init=False)
    passed_on: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def to_do(self, entries: Iterable[Entry]) -> Iterator[Job]:
        """Yield what is to be done."""
        for entry in entries:
            state: State = "in_doubt" if entry.state == "started" else entry.state
            gone = (
                state == "done"
                and entry.record is not None
                and self.images is not None
                and not is_there(self.images, entry.record.images)
            )
            if state in self.states or gone:
                self.in_doubt += state == "in_doubt"
                self.upload_bytes += sum(map(os.path.getsize, entry.job.files))
                self.passed_on.update((entry.job.request.extra_body or {}).keys())
                yield entry.job
            else:
                self.before[state] += 1
