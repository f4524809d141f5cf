"""Give the site what lies outside of docs/: the changelog, and the files that its pages link to.

On GitHub a link such as ``../examples/otter.py`` leads to the file. On the site it leads to a page with the
file's text, which is made here; a link to a folder becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ("on_files", "on_page_markdown")

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<target>\.\./[^)#]+)\)")
_LANGUAGES = {".py": "python", ".jsonl": "json", ".md": "markdown"}


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Add the changelog, and a page for each file of the repository that a page links to."""
    changelog = (_ROOT / "CHANGELOG.md").read_text("utf-8")
    files.append(File.generated(config, "changelog.md", content=changelog))
    linked = {p for file in files.documentation_pages() for p in _linked(file)}
    for path in sorted(linked):
        text = (_ROOT / path).read_text("utf-8")
        language = _LANGUAGES.get(Path(path).suffix, "text")
        page = f"# {path}\n\n````{language}\n{text}````\n"
        files.append(File.generated(config, f"source/{path}.md", content=page))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links to files of the repository to their pages."""
    del config, files

    def lead(link: re.Match[str]) -> str:
        path = _outside(page.file, link["target"])
        if path is None:
            return link[0]
        if not (_ROOT / path).is_file():
            return link["text"]
        folder = posixpath.dirname(page.file.src_uri)
        return f"[{link['text']}]({posixpath.relpath(f'source/{path}.md', folder or '.')})"

    return _LINK.sub(lead, markdown)


def _linked(page: File) -> Iterator[str]:
    for link in _LINK.finditer(page.content_string):
        path = _outside(page, link["target"])
        if path is not None and (_ROOT / path).is_file():
            yield path


def _outside(page: File, target: str) -> str | None:
    """Return the path of a link's target in the repository; None if it is a page of docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.src_uri), target))
    return None if path.startswith("docs/") else path
