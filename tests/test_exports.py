"""The public face: what `__all__` says is what there is, and each of it is explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any, get_overloads, overload

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "streamflow"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


PUBLIC = [name for name in map(module_name, SOURCES) if not re.search(r"\._", name)]
FOLDERS = sorted({path.parent for path in SOURCES})


def is_ours(value: object) -> bool:
    return getattr(value, "__module__", "").partition(".")[0] == "streamflow"


def public_things(module: ModuleType) -> list[tuple[str, object]]:
    """Return the classes and functions that a module offers, with the public methods and properties of its classes."""
    things: list[tuple[str, object]] = []
    for name in module.__all__:
        value = getattr(module, name)
        if not is_ours(value) or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        things.append((name, value))
        if inspect.isclass(value):
            things += [
                (f"{name}.{inner}", getattr(value, inner) if not isinstance(member, property) else member)
                for inner, member in vars(value).items()
                if not inner.startswith("_")
                and (inspect.isroutine(member) or isinstance(member, (property, classmethod, staticmethod)))
            ]
    return things


def explanation(thing: object) -> str:
    """Return a thing's own docstring; of a class neither an inherited one nor one that a decorator made."""
    if inspect.isclass(thing):
        own = thing.__dict__.get("__doc__") or ""
        return "" if own.startswith(f"{thing.__name__}(") else own
    return inspect.getdoc(thing) or ""


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_lists_what_it_offers_and_nothing_else(name: str) -> None:
    """What can be imported is what was meant to be: `__all__` is complete, true, without repetition, and in ruff's order."""
    module = importlib.import_module(name)
    listed = list(module.__all__)
    found = {
        key for key, value in vars(module).items() if not key.startswith("_") and not isinstance(value, ModuleType)
    }
    # A single module (errors, middleware) also holds the names that it imports; a folder's face has no reason to.
    if not hasattr(module, "__path__"):
        found = {key for key in found if is_ours(vars(module)[key]) and vars(module)[key].__module__ == name}
    found -= {"annotations", "TYPE_CHECKING"}

    assert [key for key in listed if not hasattr(module, key)] == []
    assert sorted(found - set(listed)) == []
    assert len(listed) == len(set(listed))
    assert listed == sorted(
        listed, key=lambda key: (0 if key.isupper() else 1 if key.lstrip("_")[0].isupper() else 2, key)
    )


def test_every_folder_has_a_face() -> None:
    """Without an `__init__.py` a folder is left out by type checkers, by the import contracts and by these tests."""
    folders = {path.parent for path in SOURCES}

    assert sorted(folder.name for folder in folders if not (folder / "__init__.py").is_file()) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_is_explained(name: str) -> None:
    """A docstring is the contract: every public class, function, method and property has one."""
    assert [thing for thing, value in public_things(importlib.import_module(name)) if not explanation(value)] == []


def test_every_module_says_what_it_is() -> None:
    """A newcomer who opens a file learns in its first lines what stands above it and below it."""
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]

    assert [module_name(path) for path in silent] == []


def loose_hints(name: str, thing: object) -> list[str]:
    """Return the hints of a function or property that say `Any`; of an overloaded one, those of its overloads."""
    function = thing.fget if isinstance(thing, property) else thing
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        return []
    return [
        f"{name}({key}: {hint})"
        for form in get_overloads(function) or [function]
        for key, hint in form.__annotations__.items()
        if re.search(r"\bAny\b", str(hint))
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_no_public_signature_says_any(name: str) -> None:
    """`Any` in a signature switches the user's type checker off."""
    assert [hint for thing in public_things(importlib.import_module(name)) for hint in loose_hints(*thing)] == []


def test_an_any_is_found_also_behind_an_overload() -> None:
    """The check above can fail; the body of an overloaded function is nobody's signature."""

    @overload
    def loose(value: int) -> list[Any]: ...
    @overload
    def loose(value: str) -> str: ...
    def loose(value: Any) -> Any:
        return value

    assert len(loose_hints("loose", loose)) == 1


def test_an_unexplained_class_is_found() -> None:
    """The checks above can fail: an inherited docstring of a class does not count."""

    class Explained:
        """It is."""

    class Silent(Explained):
        pass

    assert explanation(Explained)
    assert not explanation(Silent)
