"""The commands: what they make, print and leave behind, and the exit code of each way to fail."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
Launch = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--size", "256x256")
RIGHT_KEY = "sk-test-cli"
WRONG_KEY = "sk-wrong-0123456789"


def files_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for images that does not exist yet."""
    return tmp_path / "deep" / "out"


@pytest.fixture
def account(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A right key and the address of a server, in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_API_KEY", RIGHT_KEY)
    return served


# generate, edit, variation ------------------------------------------------------------------------


def test_generate_saves_images_and_prints_their_paths(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is a file whose path, size and type is a line on standard output."""
    code = main(["generate", "a fox", "-n", "2", *SMALL, "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["done"]
    assert capsys.readouterr() == (
        f"{out / 'image-1.png'}  256x256 image/png\n{out / 'image-2.png'}  256x256 image/png\n",
        "",
    )
    for name in ("image-1.png", "image-2.png"):
        with Image.open(out / name) as image:
            assert image.size == (256, 256)


def test_no_file_is_replaced(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call with the same name takes the next numbers."""
    arguments = ["generate", "a fox", *SMALL, "--out", str(out), "--name", "fox", "--emulator"]
    assert main(arguments) == EXIT_CODES["done"]
    first = (out / "fox-1.png").read_bytes()
    assert main(arguments) == EXIT_CODES["done"]
    assert files_in(out) == ["fox-1.png", "fox-2.png"]
    assert (out / "fox-1.png").read_bytes() == first
    assert "fox-2.png" in capsys.readouterr().out


def test_a_stream_is_saved_and_shown_as_it_arrives(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each partial image is a file and a line, and then the completed one; nothing is replaced."""
    arguments = ["--model", "gpt-image-2", "--stream", "--out", str(out), "--emulator"]
    assert main(["generate", "a fox", *arguments]) == EXIT_CODES["done"]
    names = ["image-partial-1.png", "image-partial-2.png", "image-1.png"]
    lines = [f"{out / name}  1024x1024 image/png\n" for name in names]
    assert capsys.readouterr() == ("".join(lines), "")
    assert files_in(out) == sorted(names)

    edit = ["edit", str(EXAMPLES / "sunlit_lounge.png"), "a fox", "--partial-images", "1"]
    assert main([*edit, *arguments, "--json"]) == EXIT_CODES["done"]
    partial, completed = map(json.loads, capsys.readouterr().out.splitlines())
    assert partial == {
        "event": "partial",
        "index": 0,
        "path": str(out / "image-partial-3.png"),
        "mime_type": "image/png",
        "width": 1024,
        "height": 1024,
    }
    assert completed["event"] == "completed"
    assert completed["images"][0]["path"] == str(out / "image-2.png")
    assert completed["usage"]["output_tokens"] > 0


def test_a_partial_image_that_cannot_be_saved_does_not_end_the_stream(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The completed image is paid for: it is saved whatever becomes of those before it."""
    errors = iter([OSError(errno.ENOSPC, "No space left on device")])
    fsync = os.fsync

    def fsync_once_full(descriptor: int) -> None:
        for error in errors:
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_once_full)  # the operating system, not our code
    arguments = ["--model", "gpt-image-2", "--stream", "--out", str(out), "--emulator"]
    assert main(["generate", "a fox", *arguments]) == EXIT_CODES["some_failed"]
    captured = capsys.readouterr()
    assert captured.err == f"imagesdk: {out}: No space left on device\n"
    assert len(captured.out.splitlines()) == 2
    assert files_in(out) == ["image-1.png", "image-partial-1.png"]


def test_a_closed_pipe_does_not_end_the_stream(
    out: Path, program: tuple[str, ...], environment: Callable[..., dict[str, str]]
) -> None:
    """When nobody reads the output any more, as after ``| head -1``, all images are saved all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["--model", "gpt-image-2", "--stream", "--out", str(out), "--emulator"]
    done = subprocess.run(
        [*program, "generate", "a fox", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr.count("Broken pipe")) == (EXIT_CODES["some_failed"], 1)
    assert files_in(out) == ["image-1.png", "image-partial-1.png", "image-partial-2.png"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--partial-images", "1"], "--partial-images needs --stream"),
        (["--stream", "-n", "2"], "-n does not go with --stream"),
        (["--stream", "--style", "vivid"], "--style does not go with --stream"),
        (["--stream", "--response-format", "url"], "--response-format does not go with"),
        (["--stream"], "a model that streams"),
    ],
)
def test_what_does_not_go_with_a_stream(
    options: list[str], words: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that a stream has no use for is wrong usage, and nothing is sent."""
    code = main(["generate", "a fox", *options, "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["usage"]
    assert words in capsys.readouterr().err


def test_json_is_one_document(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` prints one document, whose paths exist, and nothing else on standard output."""
    code = main(
        [
            "generate",
            "a corgi",
            "--model",
            "gpt-image-1.5",
            "--quality",
            "low",
            "--output-format",
            "webp",
            "--background",
            "transparent",
            "--moderation",
            "low",
            "--out",
            str(out),
            "--json",
            "--emulator",
        ]
    )
    assert code == EXIT_CODES["done"]
    document = json.loads(capsys.readouterr().out)
    (image,) = document["images"]
    assert Path(image["path"]) == out / "image-1.webp"
    assert Path(image["path"]).is_file()
    assert (image["mime_type"], image["width"], image["height"]) == ("image/webp", 1024, 1024)
    assert image["url"] is None
    assert document["created"] > 0
    assert document["usage"]["output_tokens"] > 0
    assert document["request_id"]
    assert document["attempts"] == 1


@pytest.mark.parametrize(
    ("call", "calls"),
    [
        (["generate", "a fox", "-n", "25"], ", in 3 calls"),
        (["edit", str(EXAMPLES / "sunlit_lounge.png"), "a pool", "-n", "25"], ", in 3 calls"),
        (["generate", "a fox", "-n", "25", "--images-per-minute", "5"], ", in 5 calls"),
    ],
)
def test_a_dry_run_tells_cost_and_wait(
    call: list[str],
    calls: str,
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The call is checked, and what it takes is told; nothing is sent, so that no key is needed."""
    prices = tmp_path / "prices.toml"
    prices.write_text("[[price]]\nimage = [0.01, 0.25]")
    options = ["--model", "gpt-image-2", "--out", str(out), "--dry-run", "--prices", str(prices)]
    assert main([*call, *options]) == EXIT_CODES["done"]
    said = capsys.readouterr().out
    assert f"1 request for 25 images{calls}\n" in said
    assert "0.25 to 6.25\n" in said
    assert not out.exists()


def test_a_dry_run_in_json(capsys: pytest.CaptureFixture[str], out: Path) -> None:
    """The same as one document; without a table the cost is not known."""
    call = ["variation", str(EXAMPLES / "otter.png"), "--emulator", "--dry-run", "--json"]
    assert main([*call, "--out", str(out)]) == EXIT_CODES["done"]
    expected = {"requests": 1, "images": 1, "calls": 1, "cost": None, "wait": 0.0}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "5x5", "--dry-run"], "size is '5x5'"),
        (["--prices", "prices.toml"], "--prices needs --dry-run"),
        (["--dry-run", "--stream"], "--dry-run does not go with --stream"),
    ],
)
def test_a_dry_run_refuses_what_a_call_would(
    options: list[str], message: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What breaks a rule is told as it would be, and options that do not go together are."""
    call = ["generate", "a fox", "--model", "gpt-image-2", "--out", str(out), *options]
    assert main(call) == EXIT_CODES["usage"]
    assert message in capsys.readouterr().err


def test_edit_takes_an_image_and_a_mask(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edit changes what is transparent in the mask and keeps the rest."""
    code = main(
        [
            "edit",
            str(EXAMPLES / "otter.png"),
            "an otter with a beret",
            *SMALL,
            "--mask",
            str(EXAMPLES / "otter_mask.png"),
            "--out",
            str(out),
            "--emulator",
        ]
    )
    assert code == EXIT_CODES["done"], capsys.readouterr().err
    assert files_in(out) == ["image-1.png"]


def test_edit_takes_several_images(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last argument of an edit is its prompt, all before it are images."""
    images = [str(EXAMPLES / "otter.png"), str(EXAMPLES / "corgi_and_cat_paw.png")]
    code = main(
        [
            "edit",
            *images,
            "side by side",
            "--model",
            "gpt-image-1.5",
            "--input-fidelity",
            "high",
            "--quality",
            "low",
            "--out",
            str(out),
            "--emulator",
        ]
    )
    assert code == EXIT_CODES["done"], capsys.readouterr().err
    assert files_in(out) == ["image-1.png"]


def test_variation_takes_an_image(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A variation needs an image alone; URLs are downloaded and told."""
    image = str(EXAMPLES / "otter.png")
    code = main(["variation", image, "-n", "2", *SMALL, "--out", str(out), "--json", "--emulator"])
    assert code == EXIT_CODES["done"]
    images = json.loads(capsys.readouterr().out)["images"]
    assert [Path(image["path"]).name for image in images] == ["image-1.png", "image-2.png"]
    assert all(image["url"].startswith("http://127.0.0.1:") for image in images)


def test_extra_fields_are_json_or_text(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--extra`` adds fields to the body, as JSON where the value is JSON."""
    arguments = ["generate", "a", *SMALL, "--out", str(out), "--emulator", "--extra"]
    assert main([*arguments, "user=me"]) == EXIT_CODES["done"]
    assert main([*arguments, 'user="me=too"']) == EXIT_CODES["done"]
    capsys.readouterr()
    assert main([*arguments, "user=7"]) == EXIT_CODES["failed"]
    assert "'user'" in capsys.readouterr().err


@pytest.mark.parametrize("pair", ["user", "=me", ""])
def test_an_extra_field_needs_a_name_and_a_value(
    pair: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no NAME=VALUE is invalid input."""
    code = main(["generate", "a", "--out", str(out), "--emulator", "--extra", pair])
    assert code == EXIT_CODES["usage"]
    assert f"--extra is {pair!r}; it must be NAME=VALUE" in capsys.readouterr().err


INVALID = [
    ["generate", "x" * 1001],
    ["generate", ""],
    ["generate", "a", "-n", "0"],
    ["generate", "a", "--size", "5x5"],
    ["generate", "a", "--quality", "low"],
    ["generate", "a", "--images-per-minute", "0"],
    ["generate", "a", "--timeout", "0"],
    ["generate", "a", "--max-wait", "-1"],
    ["generate", "a", "--name", "a/b"],
    ["generate", "a", "--name", ""],
    ["generate", "a", "--base-url", "server"],
    ["edit", "gone.png", "a"],
    ["variation", str(EXAMPLES / "image.png")],
    ["variation", str(EXAMPLES / "prompts.jsonl")],
]


@pytest.mark.parametrize("arguments", INVALID, ids=lambda arguments: " ".join(arguments)[:60])
def test_invalid_input_is_exit_code_2(
    arguments: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What breaks a rule is told in one line, and nothing is sent: no server is there to refuse it."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert main([*arguments, "--out", str(out)]) == EXIT_CODES["usage"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("imagesdk: ")
    assert not out.exists() or files_in(out) == []


def test_each_problem_is_a_line(capsys: pytest.CaptureFixture[str], out: Path) -> None:
    """A request with several problems tells all of them."""
    code = main(["generate", "x" * 1001, "--size", "5x5", "--emulator", "--out", str(out)])
    assert code == EXIT_CODES["usage"]
    first, second = capsys.readouterr().err.splitlines()
    assert "prompt" in first
    assert second.startswith("  size is '5x5'")


def test_validation_can_be_left_to_the_server(
    capsys: pytest.CaptureFixture[str], out: Path
) -> None:
    """``--validate off`` sends what breaks a rule; then the server refuses it."""
    arguments = ["generate", "a", "--size", "5x5", "--emulator", "--out", str(out)]
    assert main([*arguments, "--validate", "off"]) == EXIT_CODES["failed"]
    assert "5x5" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images are not paid for if there is no place for them."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    code = main(["generate", "a", "--out", str(tmp_path / "file"), "--timeout", "5"])
    assert code == EXIT_CODES["usage"]
    assert "there is a file of that name" in capsys.readouterr().err


def test_without_a_key_openai_is_not_asked(capsys: pytest.CaptureFixture[str], out: Path) -> None:
    """For OpenAI's own server a missing key is told before anything is sent."""
    assert main(["generate", "a", "--out", str(out)]) == EXIT_CODES["usage"]
    assert "OPENAI_API_KEY" in capsys.readouterr().err


@pytest.mark.usefixtures("account")
def test_a_wrong_key_is_exit_code_5(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that the server refuses has an exit code of its own, and is not printed."""
    monkeypatch.setenv("OPENAI_API_KEY", WRONG_KEY)
    assert main(["generate", "a", *SMALL, "--out", str(out)]) == EXIT_CODES["refused"]
    captured = capsys.readouterr()
    assert "401" in captured.err
    assert WRONG_KEY not in captured.out + captured.err


@pytest.mark.usefixtures("account")
def test_a_right_key_from_the_environment_is_used(out: Path) -> None:
    """Key and address come from the environment."""
    assert main(["generate", "a", *SMALL, "--out", str(out)]) == EXIT_CODES["done"]
    assert files_in(out) == ["image-1.png"]


def test_a_server_without_the_api_is_exit_code_1(
    account: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any other refusal of the server is a failure, told in one line."""
    url = account.removesuffix("/v1")
    code = main(["generate", "a", *SMALL, "--out", str(out), "--base-url", url])
    assert code == EXIT_CODES["failed"]
    assert "404" in capsys.readouterr().err


def test_a_blocked_prompt_is_exit_code_1(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single call that the server refuses has failed."""
    code = main(["generate", "a [blocked] thing", *SMALL, "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["failed"]
    assert "safety" in capsys.readouterr().err


def test_a_full_disk_is_told(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the disk does not take is no path but, if it has one, its URL; the reason is told."""

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)  # the operating system, not our code
    arguments = ["generate", "a fox", *SMALL, "--out", str(out), "--emulator"]
    assert main(arguments) == EXIT_CODES["some_failed"]
    captured = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\S+\n", captured.out)
    assert captured.err.startswith("imagesdk: the image arrived, and is in .result. Not saved: ")
    assert "No space left on device" in captured.err
    assert main([*arguments, "--json"]) == EXIT_CODES["some_failed"]
    assert json.loads(capsys.readouterr().out)["images"][0]["path"] is None
    assert files_in(out) == []


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_what_a_full_disk_does_not_take_outlives_the_program(  # noqa: PLR0917
    streamed: bool,  # noqa: FBT001
    full: bool,  # noqa: FBT001
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An image that was paid for goes into the folder for temporary files, if that is not full, too."""
    fsync, errors = os.fsync, iter([True, full])

    def once(descriptor: int) -> None:
        if next(errors):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", once)  # the operating system, not our code
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arguments = ["generate", "a fox", "--model", "gpt-image-2", "--out", str(out), "--emulator"]
    if streamed:
        arguments += ["--stream", "--partial-images", "0"]
    assert main(arguments) == EXIT_CODES["some_failed"]
    captured = capsys.readouterr()
    assert files_in(out) == []
    found = list(tmp_path.glob("imagesdk-*/image-1.png"))
    if full:
        assert (found, captured.out) == ([], "")
        assert captured.err.endswith(": No space left on device\n")
    else:
        assert captured.out == f"{found[0]}  1024x1024 image/png\n"
        assert captured.err.endswith(f"  what was not saved is in {found[0].parent}\n")


def test_a_partial_result_is_saved_and_exit_code_3(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If only some images arrive they are saved and printed, and the exit code says so."""
    # One request of ten fits into a limit of 10; the rest would wait for a minute.
    code = main(
        [
            "generate",
            "a",
            "-n",
            "12",
            *SMALL,
            "--out",
            str(out),
            "--emulator",
            "--images-per-minute",
            "10",
            "--max-wait",
            "2",
            "--json",
        ]
    )
    captured = capsys.readouterr()
    assert code == EXIT_CODES["some_failed"], captured.err
    assert len(json.loads(captured.out)["images"]) == len(files_in(out)) in (2, 10)
    assert "of 12 images" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "a fox", "--emulator"),
        ("serve", "--port", "0"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_pillow_the_emulator_says_what_to_install(
    arguments: tuple[str, ...], launch: Launch, tmp_path: Path
) -> None:
    """The emulator paints with Pillow; without it the message names the extra to install."""
    (tmp_path / "PIL.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'PIL'\", name='PIL')\n", encoding="utf-8"
    )
    done = launch(*arguments, PYTHONPATH=str(tmp_path), cwd=tmp_path)
    assert done.returncode == EXIT_CODES["usage"]
    assert "pip install 'imagesdk[emulator]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_that_is_missing_for_another_reason_is_not_hidden(
    launch: Launch, tmp_path: Path
) -> None:
    """A broken installation is shown as it is."""
    (tmp_path / "aiohttp.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'yarl'\", name='yarl')\n", encoding="utf-8"
    )
    done = launch("generate", "a", "--emulator", PYTHONPATH=str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "No module named 'yarl'" in done.stderr


# --server -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("account")
def test_a_server_by_its_name(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--server`` says how the server is spoken to, and what it has."""
    sizes = ("--size", "256x256", "--response-format", "b64_json")
    assert main(["generate", "a fox", *sizes, "--server", "sglang", "--out", str(out)]) == 0
    assert files_in(out) == ["image-1.png"]
    capsys.readouterr()
    image = str(EXAMPLES / "image.png")
    assert main(["variation", image, "--server", "localai"]) == EXIT_CODES["usage"]
    assert "localai has no variations: use edit() with a prompt" in capsys.readouterr().err


@pytest.mark.usefixtures("account")
def test_a_server_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is answered with those that there are."""
    assert main(["generate", "a fox", "--server", "sora"]) == EXIT_CODES["usage"]
    told = capsys.readouterr().err
    assert told.startswith("imagesdk: server='sora' is not known; choose one of 'openai', ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("variation", str(EXAMPLES / "image.png")),
            "openai has no variations: OpenAI shut dall-e-2",
        ),
        (
            ("generate", "a fox", "--model", "dall-e-3"),
            "OpenAI shut it down on 2026-05-12; use gpt",
        ),
    ],
)
def test_what_openai_no_longer_serves(
    arguments: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is refused before anything is sent, with the way out."""
    monkeypatch.setenv("OPENAI_API_KEY", RIGHT_KEY)
    assert main([*arguments]) == EXIT_CODES["usage"]
    assert told in capsys.readouterr().err
