"""The release script refuses what must not be released. Building is tried by .ci/test-wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "release"
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-26\n\n- Things.\n"

GIT = shutil.which("git") or ""

pytestmark = pytest.mark.skipif(not GIT, reason="needs git")


def git(checkout: Path, *arguments: str) -> None:
    """Run git as somebody, without the settings of who runs the tests."""
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run([GIT, *who, *arguments], cwd=checkout, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that can be released as 1.2.0."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, "utf-8")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def commit(checkout: Path) -> None:
    """Commit all that is there."""
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "x")


def check(checkout: Path) -> tuple[int, str]:
    """Run ``release --check`` and return its exit code and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [checkout / ".ci" / "release", "--check"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_what_is_in_order_can_be_released(checkout: Path) -> None:
    """A clean checkout whose versions agree and whose tag is free passes, and nothing is built."""
    code, said = check(checkout)
    assert (code, said.partition(" from ")[0]) == (0, "1.2.0 can be released")
    assert not (checkout / "dist").exists()


def test_a_checkout_with_changes_is_refused(checkout: Path) -> None:
    """What is not committed is not released."""
    (checkout / "new.txt").touch()
    assert check(checkout) == (
        1,
        "no release: the checkout has changes that are not committed: see git status\n",
    )


@pytest.mark.parametrize("heading", ["[1.2.1] - 2026-11-27", "[1.2.0]", "[1x2.0] - 2026-11-26"])
def test_versions_that_differ_are_refused(checkout: Path, heading: str) -> None:
    """The newest heading of the changelog must be the version of pyproject.toml, with its day."""
    changelog = CHANGELOG.replace("## [1.2.0]", f"## {heading}\n\n## [1.2.0]")
    (checkout / "CHANGELOG.md").write_text(changelog, "utf-8")
    commit(checkout)
    code, said = check(checkout)
    assert code == 1
    assert f"pyproject.toml says 1.2.0, the newest heading of CHANGELOG.md '## {heading}'" in said


def test_changes_left_under_unreleased_are_refused(checkout: Path) -> None:
    """Changes that nobody moved under the version would be in the release, but not in its list."""
    changelog = CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n\n### Fixed\n\n- A thing.\n")
    (checkout / "CHANGELOG.md").write_text(changelog, "utf-8")
    commit(checkout)
    code, said = check(checkout)
    assert code == 1
    assert "still has changes under Unreleased" in said


def test_a_version_that_was_released_is_refused(checkout: Path) -> None:
    """A version is released once."""
    git(checkout, "tag", "v1.2.0")
    assert check(checkout) == (
        1,
        "no release: the tag v1.2.0 exists: raise the version in pyproject.toml\n",
    )
