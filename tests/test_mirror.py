"""Tests mirror the package: each module has its test file, and each test file its module."""

from __future__ import annotations

from pathlib import Path

import pytest

import imagesdk

PACKAGE = Path(imagesdk.__file__).parent
TESTS = Path(__file__).parent

# Files of the repository as a whole.
ABOUT_THE_REPOSITORY = {
    "test_benchmarks.py",
    "test_benchmarks_emulator.py",
    "test_benchmarks_peers.py",
    "test_docs.py",
    "test_docstrings.py",
    "test_examples.py",
    "test_examples_services.py",
    "test_import.py",
    "test_mirror.py",
    "test_public_api.py",
    "test_readme.py",
    "test_release.py",
    "test_snippets.py",
}
# Folders of tests that need several modules at once, or none.
ABOUT_SEVERAL_MODULES = {"conformance", "crash", "integration", "isolated", "typing", "wire"}
# More than one file about one module.
FURTHER = {
    "batch/test_gallery_browser.py": "batch/gallery.py",
    "batch/test_runner_again.py": "batch/runner.py",
    "batch/test_runner_ends.py": "batch/runner.py",
    "cli/test_batch_ends.py": "cli/batch_commands.py",
    "client/test_throttling.py": "client/_pipeline.py",
    "emulator/test_painter_edits.py": "emulator/painter.py",
    "limiters/test_local_pauses.py": "limiters/local.py",
    "limiters/test_local_properties.py": "limiters/local.py",
    "limiters/test_local_refusals.py": "limiters/local.py",
    "limiters/test_local_snapshot.py": "limiters/local.py",
    "limiters/test_queue_cancelled.py": "limiters/_queue.py",
    "limiters/test_queue_loops.py": "limiters/_queue.py",
    "limiters/test_queue_waits.py": "limiters/_queue.py",
    "limiters/test_redis_limiter.py": "limiters/_redis.py",
    "test_retry_billing.py": "retry.py",
    "transport/test_uploads.py": "transport/_aiohttp.py",
}
# Helpers that are tested through the module that uses them.
THROUGH = {
    "__main__.py": "cli/test_main.py",
    "batch/_fetch.py": "batch/test_provider.py",
    "batch/_submit.py": "batch/test_provider.py",
    "batch/entries.py": "batch/test_ledger.py",
    "cli/image_commands.py": "cli/test_commands.py",
    "cli/batch_parser.py": "cli/test_main.py",
    "cli/batch_said.py": "cli/test_batch_ends.py",
    "cli/options.py": "cli/test_main.py",
    "client/_image_methods.py": "client/test_session.py",
    "client/_runner.py": "client/test_session.py",
    "client/_stream_methods.py": "client/test_streaming.py",
    "client/_stream_receiver.py": "client/test_streaming.py",
    "emulator/_animals.py": "emulator/test_painter.py",
    "emulator/_brief.py": "emulator/test_painter.py",
    "emulator/_canvas.py": "emulator/test_painter.py",
    "emulator/_caption.py": "emulator/test_painter.py",
    "emulator/_collage.py": "emulator/test_painter_edits.py",
    "emulator/_figures.py": "emulator/test_painter.py",
    "emulator/_fill.py": "emulator/test_painter_edits.py",
    "emulator/_looks.py": "emulator/test_painter.py",
    "emulator/_modes.py": "emulator/test_painter.py",
    "emulator/_scenes.py": "emulator/test_painter.py",
    "emulator/_subjects.py": "emulator/test_painter.py",
    "emulator/_things.py": "emulator/test_painter.py",
    "emulator/sabotage.py": "emulator/test_controls.py",
    "emulator/wire.py": "conformance/test_odd_http.py",
    "limiters/_redis_queue.py": "limiters/test_redis.py",
    "limiters/_redis_scripts.py": "limiters/test_redis.py",
    "limiters/_redis_shadow.py": "limiters/test_redis.py",
    "limiters/_redis_store.py": "limiters/test_redis.py",
}


MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"  # public lists: test_public_api.py
)
TEST_FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))


def home_of(module: str) -> str:
    """Return the file in which a module is tested: ``a/_b.py`` in ``a/test_b.py``."""
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name.lstrip('_')}".lstrip("/")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_file(module: str) -> None:
    """A module is tested in the file of its name, or in that of the module that uses it."""
    assert THROUGH.get(module, home_of(module)) in TEST_FILES


@pytest.mark.parametrize("file", TEST_FILES)
def test_every_test_file_has_its_module(file: str) -> None:
    """A test file is about a module that exists, about several of them, or about the repository."""
    known = {home_of(module) for module in MODULES if module not in THROUGH}
    several = file.partition("/")[0] in ABOUT_SEVERAL_MODULES
    assert several or file in known | ABOUT_THE_REPOSITORY | set(FURTHER)


def test_the_exceptions_are_needed() -> None:
    """What the lists above name exists, and has no test file of its own."""
    assert set(THROUGH) <= set(MODULES)
    assert not {home_of(module) for module in THROUGH} & set(TEST_FILES)
    assert set(THROUGH.values()) | set(FURTHER) | ABOUT_THE_REPOSITORY <= set(TEST_FILES)
    assert set(FURTHER.values()) <= set(MODULES)


def test_every_python_file_of_the_tests_is_run_or_a_fixture() -> None:
    """No test hides in a file that pytest does not look into."""
    files = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")} - {*TEST_FILES}
    single = {f for f in files if f.partition("/")[0] not in ABOUT_SEVERAL_MODULES}
    assert {f.rpartition("/")[2] for f in single} <= {"conftest.py"}
