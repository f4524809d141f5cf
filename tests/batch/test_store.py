"""Images in a store of objects: nothing is replaced, and what is there is found again.

A folder behind ``file://`` is a store, too. What only a server of S3 shows is marked ``cluster``.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from imagesdk.batch.entries import Entry
from imagesdk.batch.files import ARRIVING
from imagesdk.batch.ledger import LEDGER, Ledger
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.store import ObjectStore
from imagesdk.batch.worker import Worker
from imagesdk.cli.main import main
from imagesdk.emulator.server import EmulatorServer
from imagesdk.errors import ConfigurationError
from imagesdk.testing import ScriptedTransport
from tests.batch.conftest import image_answer, jobs_of, manifest_of, png, prompts, scripted
from tests.conftest import missing

if TYPE_CHECKING:
    from imagesdk.batch.jobs import Job

KEY = "0123456789abcdef" * 2
Fresh = Callable[[], ObjectStore]


@pytest.fixture(autouse=True)
def _obstore() -> None:
    if find_spec("obstore") is None:
        missing("obstore", "imagesdk[store]")


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """The folder in which the objects are files."""
    return tmp_path / "objects"


@pytest.fixture
def fresh(objects: Path, tmp_path: Path) -> Fresh:
    """Open the store as another process does, with the same ledger."""
    return lambda: ObjectStore(objects.as_uri(), tmp_path / "ledger")


async def play(store: ObjectStore, jobs: Iterable[Job], **more: Any) -> tuple[Summary, int]:
    """Run jobs; return the summary, and the number of requests."""
    transport = ScriptedTransport(lambda r: image_answer(*[png()] * r.json.get("n", 1)))
    async with scripted(transport) as session:
        summary = await run_jobs(Worker(session, store), jobs, store, **more)
    return summary, len(transport.requests)


def names_in(objects: Path) -> list[str]:
    """Return the names of the objects that are images."""
    return sorted(path.name for path in objects.iterdir() if path.name != ".imagesdk")


async def entry_of(folder: Path) -> Entry:
    """Return a job that is about to be sent."""
    async with Ledger(folder) as ledger:
        await ledger.load(prompts("a"))
        (entry,) = await ledger.page(["pending"])
        await ledger.start(entry, KEY)
    return attrs.evolve(entry, idempotency_key=KEY)


async def test_images_become_objects_and_the_ledger_stays(
    fresh: Fresh, objects: Path, tmp_path: Path
) -> None:
    """An object is named after its job, its request and its number; the manifest has its name and hash."""
    store = fresh()
    (job,) = jobs = jobs_of({"id": "fox", "prompt": "a fox", "n": 2})
    assert await play(store, jobs) == (Summary(done=1, images=2), 1)
    names = [f"fox-{job.key[:8]}-{number}.png" for number in (1, 2)]
    assert names_in(objects) == names
    (record,) = manifest_of(tmp_path / "ledger")
    assert [image["file"] for image in record["images"]] == names
    assert {image["width"] for image in record["images"]} == {3}
    assert (objects / names[0]).read_bytes() == png()
    assert str(store) == objects.as_uri()
    assert not (tmp_path / "ledger" / ARRIVING).exists()


async def test_a_second_run_does_what_is_left(fresh: Fresh, objects: Path) -> None:
    """What is done is skipped; an object that was deleted is made again."""
    await play(fresh(), prompts("a", "b"))
    assert await play(fresh(), prompts("a", "b", "c")) == (Summary(skipped=2, done=1, images=1), 1)
    names = names_in(objects)
    await asyncio.to_thread((objects / names[0]).unlink)
    assert await play(fresh(), prompts("a", "b", "c")) == (Summary(skipped=2, done=1, images=1), 1)
    assert names_in(objects) == names


async def test_a_run_that_lost_its_ledger_finds_the_objects(
    fresh: Fresh, objects: Path, tmp_path: Path
) -> None:
    """Nothing is sent for what is there; a request that was changed, or lacks an image, is another matter."""
    jobs = jobs_of({"id": "a", "prompt": "a", "n": 2}, {"id": "b", "prompt": "b", "n": 2})
    await play(fresh(), jobs)
    await asyncio.to_thread(shutil.rmtree, tmp_path / "ledger")
    await asyncio.to_thread((objects / names_in(objects)[-1]).unlink)
    changed = jobs_of({"id": "a", "prompt": "another", "n": 2})
    assert (await play(fresh(), changed))[1] == 1
    summary, requests = await play(ObjectStore(objects.as_uri(), tmp_path / "new"), jobs)
    assert (summary.recovered, summary.skipped, summary.done, requests) == (1, 1, 1, 1)
    records = {record["custom_id"]: record for record in manifest_of(tmp_path / "new")}
    assert records["a"]["images"][0]["bytes"] == len(png())
    assert records["a"]["images"][0]["mime_type"] == "image/png"
    assert records["a"]["images"][0]["sha256"] == hashlib.sha256(png()).hexdigest()
    assert len(names_in(objects)) == 6


async def test_what_had_arrived_is_uploaded_by_the_next_run(
    fresh: Fresh, objects: Path, tmp_path: Path
) -> None:
    """An image that was received and not uploaded when the run ended is not sent for again."""
    folder = tmp_path / "ledger"
    (folder / ARRIVING).mkdir(parents=True)
    await entry_of(folder)
    (folder / ARRIVING / f"{KEY}-1.png").write_bytes(png(9, 9))
    summary, requests = await play(fresh(), prompts("a"))
    assert (summary.recovered, requests) == (1, 0)
    assert (objects / names_in(objects)[0]).read_bytes() == png(9, 9)


async def test_what_had_been_uploaded_is_found_by_the_next_run(
    fresh: Fresh, objects: Path, tmp_path: Path
) -> None:
    """An image that was uploaded when the run ended, without word to the ledger, is not sent for again."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    entry = await entry_of(folder)
    await asyncio.to_thread(objects.mkdir)
    await asyncio.to_thread((objects / f"a-{entry.job.key[:8]}-1.webp").write_bytes, b"RIFF")
    assert await play(fresh(), prompts("a")) == (Summary(recovered=1, skipped=1), 0)


async def test_no_object_is_ever_replaced(fresh: Fresh, objects: Path, tmp_path: Path) -> None:
    """What is there under the name of an image is that image, and stays."""
    store = fresh()
    await store.prepare()
    entry = await entry_of(tmp_path / "ledger")
    described = []
    for width in (3, 4):
        path = tmp_path / "arrived.png"
        path.write_bytes(png(width, 2))
        described.append(await store.keep(path, entry, 1))
        assert not path.exists()
    assert [each["width"] for each in described] == [3, 3]
    assert (objects / names_in(objects)[0]).read_bytes() == png(3, 2)


async def test_a_store_that_takes_nothing_ends_the_run_before_anything_is_sent(
    fresh: Fresh, objects: Path
) -> None:
    """Nothing is paid for that cannot be kept; the error names the store and shows no more than it says."""
    store = fresh()
    await asyncio.to_thread(objects.rmdir)
    await asyncio.to_thread(objects.write_bytes, b"no folder")
    with pytest.raises(OSError, match=r"file://.*objects cannot be written to: [^\n]*$"):
        await play(store, prompts("a"))
    assert not await asyncio.to_thread(store.folder.exists)


async def test_missing_credentials_are_told_with_the_names_of_what_is_missing(
    server: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what was asked of the machine's cloud in their place, which says nothing to most."""
    for name in ("AWS_ACCESS_KEY_ID", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "AWS_METADATA_ENDPOINT", server.base_url.removesuffix("/v1")
    )  # where there are none
    store = ObjectStore("s3://bucket/x", tmp_path)
    with pytest.raises(OSError, match=r"written to: no credentials were found\n") as caught:
        await store.prepare()
    assert "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION" in caught.value.__notes__[0]
    with pytest.raises(ConfigurationError, match="It needs AZURE_STORAGE_ACCOUNT_NAME and"):
        ObjectStore("az://container/x")


def test_a_url_with_credentials_is_refused_without_showing_them() -> None:
    """Folder, messages and logs would be called after them."""
    with pytest.raises(ConfigurationError, match=r"^s3://\*\*\*@bucket/x must not hold") as caught:
        ObjectStore("s3://me:hunter2@bucket/x")
    assert "hunter2" not in repr(caught.value)


async def test_a_store_that_fails_ends_the_run_and_keeps_the_image(
    fresh: Fresh, objects: Path, tmp_path: Path
) -> None:
    """What cannot be uploaded waits in the local folder for the next run."""
    (job,) = prompts("a")
    name = f"a-{job.key[:8]}-1.png"

    store = fresh()
    await store.prepare()
    (objects / name).mkdir()
    with pytest.raises(OSError, match="does not take"):
        await play(store, [job])
    (objects / name).rmdir()
    assert len(list((tmp_path / "ledger" / ARRIVING).iterdir())) == 1
    assert await play(fresh(), [job]) == (Summary(recovered=1, skipped=1), 0)


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "://x"])
def test_a_url_that_is_no_store_is_named(url: str) -> None:
    """A wrong URL is an error of the configuration, in one line."""
    with pytest.raises(ConfigurationError, match=r"is no store: [^\n]*$"):
        ObjectStore(url)


def test_obstore_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says how to get it."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[store\]'"):
        ObjectStore("s3://bucket/prefix")


def test_the_ledger_is_called_after_the_url() -> None:
    """The same command in the same folder finds it again."""
    assert ObjectStore("s3://bucket/some/prefix/").folder == Path("s3-bucket-some-prefix")


# A server of S3 -----------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server that runs beside the tests, with a bucket called "pictures"."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError:
        missing("a server of S3", "moto[server,s3]")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    try:
        yield client
    finally:
        client.close()
        server.stop()


@pytest.mark.cluster
def test_a_batch_goes_to_s3(
    bucket: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``--out s3://…`` makes objects that say what they are; the same command again sends nothing."""
    monkeypatch.chdir(tmp_path)
    lines = (
        '{"id": "fox", "prompt": "a fox", "size": "256x256", "n": 2}\n{"id": "b", "prompt": "b"}\n'
    )
    (tmp_path / "jobs.jsonl").write_text(lines, encoding="utf-8")
    command = ["batch", "run", "jobs.jsonl", "--out", "s3://pictures/run 1", "--emulator", "--json"]
    assert main(command) == 0
    assert "3 images from 2 requests in s3://pictures/run 1" in capsys.readouterr().err
    folder = tmp_path / "s3-pictures-run-1"
    assert (folder / LEDGER).exists()
    images = [image for record in manifest_of(folder) for image in record["images"]]
    listed = bucket.list_objects_v2(Bucket="pictures", Prefix="run 1/")["Contents"]
    there = {each["Key"] for each in listed}
    assert there == {f"run 1/{name}" for name in (".imagesdk", *(i["file"] for i in images))}
    for image in images:
        found = bucket.get_object(Bucket="pictures", Key=f"run 1/{image['file']}")
        assert found["ContentType"] == image["mime_type"] == "image/png"
        assert found["Metadata"] == {"sha256": image["sha256"]}
        assert len(found["Body"].read()) == image["bytes"]
    shutil.rmtree(folder)
    assert main(command) == 0
    assert "0 images from 0 requests" in capsys.readouterr().err
    assert [i for record in manifest_of(folder) for i in record["images"]] == [
        {**image, "revised_prompt": None} for image in images
    ]
    assert main([*command[:4], "s3://nowhere/x", "--emulator"]) == 1
    assert "s3://nowhere/x cannot be written to" in capsys.readouterr().err
