"""ftkit relies on no name of another package but on those that `upstream_names.py` lists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from upstream_names import DOCUMENTED, NAMES, TRAINER, Upstream

import ftkit

ROOT = Path(ftkit.__file__).parents[1]
FILES = sorted((ROOT / "ftkit").rglob("*.py"))
OWN = {"ftkit", "recipes", *sys.stdlib_module_names}
OF_A_TUPLE = {"_asdict", "_fields", "_replace"}  # documented for typing.NamedTuple


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_foreign(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in OWN


def found(name: str) -> tuple[Any, str, bool]:
    """Return (module or class, the last part of this name, whether the one has the other)."""
    first, *parts = name.split(".")
    owner: Any = importlib.import_module(first)
    *path, last = parts
    done = first
    for part in path:
        done += f".{part}"
        if not hasattr(owner, part) and isinstance(owner, ModuleType):
            try:
                importlib.import_module(done)
            except ModuleNotFoundError:
                return owner, last, False
        if not hasattr(owner, part):
            return owner, last, False
        owner = getattr(owner, part)
    return owner, last, has(owner, last)


@cache
def has(owner: Any, name: str) -> bool:
    """Return whether a module or class has this name, also as an attribute of its instances."""
    if hasattr(owner, name):
        return True
    if isinstance(owner, ModuleType):
        return False
    assigned = re.compile(rf"""self\.{name}\b|["']{name}["']""")
    return any(
        name in vars(kind).get("__annotations__", {}) or assigned.search(source(kind))
        for kind in inspect.getmro(owner)
        if is_foreign(kind)
    )


@cache
def source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # it is compiled
        return ""


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def complaint(upstream: Upstream) -> str | None:
    """Return in one line what is wrong with this name in the installed packages, or None."""
    owner, last, there = found(upstream.name)
    package = upstream.name.split(".")[0]
    release = f"{package} {version(distributions()[package][0])}"
    if not there:
        return f"{release} has no {upstream.name} any more; it {upstream.reason}"
    if upstream.takes is not None:
        takes = ", ".join(inspect.signature(getattr(owner, last)).parameters)
        if takes != upstream.takes:
            return (
                f"{release}: {upstream.name} takes ({takes}) and no longer ({upstream.takes}); "
                f"it {upstream.reason}"
            )
    return None


@pytest.mark.parametrize("upstream", NAMES, ids=lambda upstream: upstream.name)
def test_the_installed_packages_have_the_name(upstream):
    if (wrong := complaint(upstream)) is not None:
        pytest.fail(wrong, pytrace=False)


@pytest.mark.parametrize("upstream", TRAINER, ids=lambda upstream: upstream.name)
def test_trainer_still_calls_what_ftkit_replaces(upstream):
    """A method that is there, but that nothing calls any more, would be overridden in vain."""
    owner, last, _ = found(upstream.name)
    public = {"train", "get_decay_parameter_names"}  # ftkit calls these itself
    if last not in public and callable(getattr(owner, last, None)):
        text = Path(inspect.getfile(importlib.import_module("transformers.trainer"))).read_text(
            encoding="utf-8"
        )
        assert f".{last}(" in text, f"transformers.Trainer no longer calls {last}"


@pytest.mark.parametrize(
    ("upstream", "told"),
    [
        (
            Upstream("transformers.Trainer._gone", "wrote checkpoints"),
            "has no transformers.Trainer._gone any more; it wrote checkpoints",
        ),
        (
            Upstream("transformers.gone.Trainer", "trained"),
            "has no transformers.gone.Trainer any more; it trained",
        ),
        (
            Upstream("torch.nn.Module._apply", "moved the weights", "self, function"),
            "takes (self, fn, recurse) and no longer (self, function); it moved the weights",
        ),
    ],
)
def test_a_name_that_is_gone_is_told_in_one_line(upstream, told):
    wrong = complaint(upstream)
    assert wrong is not None
    assert wrong.endswith(told)
    assert "\n" not in wrong


# What ftkit uses, read from its files.


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield each name that is imported from an inner module of another package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = "." in node.module and node.module not in DOCUMENTED
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                foreign = node.module.split(".")[0] not in OWN
                if foreign and (is_private(alias.name) or (inner and name not in DOCUMENTED)):
                    yield name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                inner = "." in alias.name and alias.name not in DOCUMENTED
                if inner and alias.name.split(".")[0] not in OWN:
                    yield alias.name


def accessed(tree: ast.Module) -> Iterator[str]:
    """Yield each private attribute that is read or set, and each attribute set through `vars`."""
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in sys.stdlib_module_names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in modules):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in {"getattr", "hasattr", "setattr", "delattr"}:
                name = node.args[1]
                if isinstance(name, ast.Constant) and is_private(str(name.value)):
                    yield str(name.value)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):
            key = node.slice
            if getattr(node.value.func, "id", None) == "vars" and isinstance(key, ast.Constant):
                yield str(key.value)


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield each private name that a file of ftkit defines itself."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and getattr(node.value, "id", None) in {"self", "cls"}
        ):
            yield node.attr


def derived() -> Iterator[tuple[type, type, ast.ClassDef]]:
    """Yield (class of ftkit, a class of another package that it derives from, its source)."""
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef):
                kind = getattr(importlib.import_module(module), node.name)
                for base in inspect.getmro(kind):
                    if is_foreign(base):
                        yield kind, base, node


def shared_with(kind: type, base: type, node: ast.ClassDef) -> set[str]:
    """Return the names of a class of ftkit that its base has, too."""
    overridden = {name for name in vars(kind) if name in vars(base) and "__" not in name}
    used = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and is_private(each.attr)
        and (isinstance(each.value, ast.Call) or getattr(each.value, "id", None) == "self")
        and has(base, each.attr)
    }
    return (overridden | used) - {"_abc_impl", "model_config"}


def listed_for(kind: type) -> set[str]:
    """Return the listed names of the classes that a class derives from."""
    return {last for owner, last, _ in map(found, LISTED) if owner in inspect.getmro(kind)}


LISTED = {upstream.name for upstream in NAMES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_file_imports_from_inner_modules_is_listed(path):
    assert set(imported(parsed(path))) - LISTED == set()


def test_private_names_that_ftkit_uses_and_does_not_define_are_listed():
    own = OF_A_TUPLE.union(*(defined(parsed(path)) for path in FILES))
    last = {name.rpartition(".")[2] for name in LISTED}
    used = {name: path for path in FILES for name in accessed(parsed(path))}
    assert {name: path for name, path in used.items() if name not in own | last} == {}


def test_names_that_a_class_shares_with_its_base_are_listed():
    missing = {
        f"{base.__module__}.{base.__qualname__}.{name} in {kind.__module__}.{kind.__name__}"
        for kind, base, node in derived()
        for name in shared_with(kind, base, node) - listed_for(kind)
    }
    assert missing == set()


def test_every_listed_name_is_used():
    used = {name.rpartition(".")[2] for path in FILES for name in imported(parsed(path))}
    used |= {name for path in FILES for name in accessed(parsed(path))}
    used |= {name for kind, base, node in derived() for name in shared_with(kind, base, node)}
    assert {name for name in LISTED if name.rpartition(".")[2] not in used} == set()


def test_no_name_is_listed_twice():
    assert len(LISTED) == len(NAMES)


def test_a_use_that_is_not_listed_would_be_seen():
    tree = ast.parse(
        "from torch.nn.modules.conv import _ConvNd\n"
        "from torch import nn\n"
        "import peft.tuners.inner\n"
        "import os\n"
        "os._exit(getattr(model, '_hidden'))\n"
        "vars(model)['step'] = trainer._secret\n"
    )
    assert set(imported(tree)) == {"torch.nn.modules.conv._ConvNd", "peft.tuners.inner"}
    assert set(accessed(tree)) == {"_hidden", "_secret", "step"}
