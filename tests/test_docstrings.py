"""The examples in docstrings are programs that run and give what they say."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

import imagesdk

ROOT = Path(__file__).parents[1]
PUBLIC = (
    "imagesdk",
    "imagesdk.batch",
    "imagesdk.emulator",
    "imagesdk.observability",
    "imagesdk.prepare",
    "imagesdk.testing",
)
MODULES = sorted(m.name for m in pkgutil.walk_packages(imagesdk.__path__, prefix="imagesdk."))


def examples() -> list[doctest.DocTest]:
    """Return the docstrings with examples of the whole package."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for m in MODULES for test in finder.find(importlib.import_module(m), m)]
    return sorted(test for test in found if test.examples)


EXAMPLES = examples()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of an emulator in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/v1", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.name))
def test_an_example_gives_what_it_says(
    example: doctest.DocTest, url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example runs in the folder of the repository, with a key and the URL of a server."""
    monkeypatch.chdir(ROOT)
    report: list[str] = []
    example.globs = {"key": key, "url": url, "__name__": "example"}
    doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
    assert "".join(report) == ""


def public() -> Iterator[tuple[str, type | FunctionType]]:
    """Yield what the public modules export, and the methods of its classes."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        for entry in module.__all__:
            value = getattr(module, entry)
            if isinstance(value, FunctionType):
                yield f"{name}.{entry}", value
            elif inspect.isclass(value) and not issubclass(value, Exception):
                yield f"{name}.{entry}", value
                for method, function in inspect.getmembers(value, inspect.isfunction):
                    if function.__module__.startswith("imagesdk") and not method.startswith("_"):
                        yield f"{name}.{entry}.{method}", function


EVERYTHING = dict(public())
FUNCTIONS = {name: v for name, v in EVERYTHING.items() if isinstance(v, FunctionType)}
# What is shown by another example: the other half of a pair, or a tool of the command line.
SHOWN_ELSEWHERE = {f"imagesdk.batch.{name}" for name in ("cancel", "fetch", "status")} | {
    "imagesdk.batch.stop_on_signals",
}
SHOWN = sorted(
    [
        *({n for n in FUNCTIONS if n.rpartition(".")[0] in PUBLIC} - SHOWN_ELSEWHERE),
        *(f"imagesdk.ImageSession.{m}" for m in ("generate", "edit", "create_variation", "map")),
        *(f"imagesdk.ImageSession.{m}" for m in ("stream_generate", "stream_edit")),
        *(f"imagesdk.ImageSession.{m}" for m in ("snapshot", "forecast")),
        "imagesdk.ImagesResponse.save",
        *(f"imagesdk.{name}" for name in ("ImageLimiter", "RetryPolicy", "ServerProfile")),
        "imagesdk.emulator.EmulatorServer",
        "imagesdk.testing.ScriptedTransport",
    ]
)


def documented(name: str) -> dict[str, str]:
    """Return the sections of a docstring; none for one that points to another."""
    text = inspect.getdoc(EVERYTHING[name]) or ""
    parts = re.split(r"^(Args|Returns|Yields|Raises|Example):$", text, flags=re.MULTILINE)
    points = re.search(r"(?:see|by) `[\w.]+`", parts[0])
    return {} if points else {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_explains_what_goes_in_and_what_comes_out(name: str) -> None:
    """Each parameter has an entry in Args; what comes back is in Returns, or in the first sentence."""
    found = documented(name)
    if not found:
        return
    signature = inspect.signature(FUNCTIONS[name])
    parameters = [parameter for parameter in signature.parameters if parameter != "self"]
    entries = re.findall(r"^    (\w+): \S", found.get("Args", ""), re.MULTILINE)
    assert entries == parameters
    if signature.return_annotation != "None":
        said = found[""].startswith(("Return ", "Give ", "Foresee ", "Open "))
        assert said or "Returns" in found


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_raises_says_so(name: str) -> None:
    """Whatever raises an error by itself names it in Raises."""
    value = EVERYTHING[name]
    found = documented(name)
    methods = ("__attrs_post_init__", *(["__init__"] if "Args" in found else []))
    own = [vars(value)[m] for m in methods if m in vars(value)]  # users make it themselves
    bodies = [value] if isinstance(value, FunctionType) else own
    raised = {
        node.exc.func.id
        for body in bodies
        if body.__code__.co_filename.startswith(str(Path(imagesdk.__file__).parent))
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(body))))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if isinstance(node.exc.func, ast.Name) and node.exc.func.id[0].isupper()
    }
    for error in raised - {"AssertionError"} if found else ():
        assert error in found.get("Raises", "")


@pytest.mark.parametrize("name", SHOWN)
def test_what_users_start_with_has_an_example(name: str) -> None:
    """Each public function and each call of the session shows how it is used, with a result."""
    examples = doctest.DocTestParser().get_examples(EVERYTHING[name].__doc__ or "")
    assert any(step.want for step in examples)
