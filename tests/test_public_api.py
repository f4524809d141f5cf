"""The public list: sorted, unique, complete, and every name on it is explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import attrs
import pytest

import imagesdk

PACKAGE = Path(imagesdk.__file__).parent
MODULES = tuple(
    sorted(m.name for m in pkgutil.walk_packages(imagesdk.__path__, prefix="imagesdk."))
)
ALIASES = {"ImageInput", "ImageRequest"}  # types: explained where they are defined
SESSION_METHODS = ("generate", "edit", "create_variation", "map", "stream_generate", "stream_edit")


def ruff_order(name: str) -> tuple[Any, ...]:
    """Sort as ruff does (RUF022): constants, then classes, then the rest; numbers by their value."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return kind, [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]


def imported_for_types() -> dict[str, str]:
    """Return the names of the TYPE_CHECKING block and the modules that they come from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {a.name: str(node.module) for node in imports for a in node.names}


def public_classes() -> Iterator[type]:
    """Yield the classes of the public list."""
    for name in imagesdk.__all__:
        value = getattr(imagesdk, name)
        if inspect.isclass(value):
            yield value


def public_functions() -> Iterator[tuple[str, FunctionType]]:
    """Yield the methods and properties that the public classes themselves define."""
    for cls in public_classes():
        for name, value in vars(cls).items():
            function = value.fget if isinstance(value, property) else value
            if not name.startswith("_") and isinstance(function, FunctionType):
                yield f"{cls.__name__}.{name}", function


def sections(text: str) -> dict[str, str]:
    """Split a docstring of Google's style into its sections."""
    parts = re.split(
        r"^(Args|Returns|Raises|Attributes|Example|Yields):$", text, flags=re.MULTILINE
    )
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> list[str]:
    """Return the names that a section explains."""
    return re.findall(r"^    (\w+): \S", section, re.MULTILINE)


@pytest.mark.parametrize("name", ["imagesdk", *MODULES])
def test_every_module_lists_its_public_names(name: str) -> None:
    """``__all__`` is a sorted tuple without repetitions, and each of its names exists."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:  # a package's own file, with nothing in it but a docstring
        assert module.__spec__ is not None
        assert module.__spec__.submodule_search_locations is not None
        assert [n for n in vars(module) if not n.startswith("_") and _is_own(module, n)] == []
        return
    assert isinstance(names, tuple)
    assert list(names) == sorted(names, key=ruff_order)
    assert len(set(names)) == len(names)
    for entry in names:
        assert getattr(module, entry) is not None


def _is_own(module: ModuleType, name: str) -> bool:
    """Return True for what is neither a submodule nor ``annotations``."""
    return not isinstance(vars(module)[name], ModuleType) and name != "annotations"


@pytest.mark.parametrize("name", ["imagesdk", *MODULES])
def test_every_module_says_what_it_is_for(name: str) -> None:
    """The first line of each module's docstring names its one responsibility."""
    text = inspect.getdoc(importlib.import_module(name))
    assert text
    assert text.splitlines()[0].endswith((".", ":", "?"))


def test_type_checkers_see_what_programs_see() -> None:
    """The imports for type checkers are the public list, and come from where the names are loaded."""
    imported = imported_for_types()
    assert sorted(imported, key=ruff_order) == list(imagesdk.__all__)
    for name, module in imported.items():
        assert getattr(importlib.import_module(module), name) is getattr(imagesdk, name)


def test_the_list_is_what_dir_shows() -> None:
    """``dir(imagesdk)`` shows every public name before it is loaded."""
    assert set(imagesdk.__all__) <= set(dir(imagesdk))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not on the list is told as Python does it."""
    with pytest.raises(AttributeError, match="module 'imagesdk' has no attribute 'nothing'"):
        _ = imagesdk.nothing


def test_all_errors_are_public() -> None:
    """Every exception that can be raised can be caught by its public name."""
    errors = importlib.import_module("imagesdk.errors")
    assert set(errors.__all__) <= set(imagesdk.__all__)
    for name in errors.__all__:
        assert name == "Attempt" or issubclass(getattr(errors, name), imagesdk.ImageSDKError)


@pytest.mark.parametrize("name", sorted(set(imagesdk.__all__) - ALIASES))
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    """Each public class or function explains itself, in words that attrs did not make up."""
    value = getattr(imagesdk, name)
    text = (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or ""
    assert text
    assert not text.startswith("Method generated by attrs")
    assert text.splitlines()[0].endswith((".", "…``."))


@pytest.mark.parametrize(
    "cls", [c for c in public_classes() if attrs.has(c)], ids=lambda c: c.__name__
)
def test_every_public_field_is_explained(cls: type) -> None:
    """The docstring of a record or an error, or of its bases, explains each of its fields."""
    texts = [inspect.cleandoc(vars(base).get("__doc__") or "") for base in cls.__mro__[:-1]]
    if "those of `GenerateRequest`" in texts[0]:
        texts.append(inspect.getdoc(imagesdk.GenerateRequest) or "")
    explained = {
        name
        for text in texts
        for title, body in sections(text).items()
        for name in entries(body)
        if title in ("Attributes", "Args")
    }
    fields = {field.name for field in attrs.fields(cls) if not field.name.startswith("_")}
    assert fields - explained == set()


@pytest.mark.parametrize(("name", "function"), [*public_functions()])
def test_every_public_method_explains_its_arguments(name: str, function: FunctionType) -> None:
    """A public method has a docstring that names each of its parameters, or points to one that does."""
    text = inspect.getdoc(function)
    assert text, name
    for module, cls, method in re.findall(r"see `([\w.]+)\.(\w+)\.(\w+)`", text):
        text += inspect.getdoc(getattr(getattr(importlib.import_module(module), cls), method)) or ""
    # A class of ours explains itself: RetryContext.
    hints = inspect.signature(function).parameters
    parameters = [p for p in hints if p not in ("self", "context")]
    assert [p for p in parameters if not re.search(rf"\b{p}\b", text)] == []
    assert text.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", SESSION_METHODS)
def test_every_parameter_of_a_call_is_documented(name: str) -> None:
    """A method of the session documents exactly its parameters, in their order, and what comes back."""
    function = getattr(imagesdk.ImageSession, name)
    found = sections(inspect.getdoc(function) or "")
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    assert entries(found["Args"]) == parameters
    assert found["Returns"].strip()
    assert ">>>" in found["Example"]
    if inspect.iscoroutinefunction(function):  # map() hands errors out as values
        raised = entries(found["Raises"])
        assert "ImageSDKError" in raised or "APIError" in raised
        assert all(issubclass(getattr(imagesdk, error), Exception) for error in raised)


@pytest.mark.parametrize("cls", [imagesdk.ImageSession, imagesdk.ImageLimiter])
def test_every_parameter_of_a_constructor_is_documented(cls: type) -> None:
    """The class documents exactly the parameters that it is made with, in their order."""
    found = sections(inspect.getdoc(cls) or "")
    parameters = [p for p in inspect.signature(cls.__init__).parameters if p != "self"]  # type: ignore[misc]
    assert entries(found["Args"]) == parameters
    assert "ConfigurationError" in entries(found["Raises"])


def test_calls_agree_on_parameters_and_requests() -> None:
    """What a request record takes, the method that makes it takes, in the same order."""
    for method, request in (
        ("generate", imagesdk.GenerateRequest),
        ("edit", imagesdk.EditRequest),
        ("create_variation", imagesdk.VariationRequest),
    ):
        signature = inspect.signature(getattr(imagesdk.ImageSession, method))
        names = [p for p in signature.parameters if p != "self"]
        fields = [field.name for field in attrs.fields(request)]
        assert names[: len(fields)] == fields
        assert names[len(fields) :] == ["timeout", "max_wait", "priority", "partial", "save_to"]


def test_streams_take_what_calls_take() -> None:
    """A streamed call has one parameter of its own, and all others in the call's order."""
    for stream, method in (("stream_generate", "generate"), ("stream_edit", "edit")):
        plain = [*inspect.signature(getattr(imagesdk.ImageSession, method)).parameters]
        names = [*inspect.signature(getattr(imagesdk.ImageSession, stream)).parameters]
        assert set(names) - set(plain) == {"partial_images"}
        names.remove("partial_images")
        assert names == [name for name in plain if name in names]
