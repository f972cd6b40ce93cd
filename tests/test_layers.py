"""The order of ftkit's files, read from their imports: each rests only on what lies below it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ftkit

ROOT = Path(ftkit.__file__).parents[1]
# From the ground up. A package may import from those of lower floors alone.
FLOORS = (
    ("errors",),
    ("hub", "machine", "recipe"),
    ("data", "perceptron", "registry", "runs"),
    ("backbones", "exported", "tasks"),
    ("publishing", "training"),
    ("strategies",),
    ("finetuning", "prediction"),
    ("shipping",),
    ("compare", "serving"),
    ("planning",),
    ("cli",),
)
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "ftkit").rglob("*.py"))
}
RECIPES = [path for path in sorted((ROOT / "recipes").glob("*.py")) if path.stem != "__init__"]


def imports(path, nodes=None):
    """Yield (module, name or None) for every import under these nodes, or in the whole file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in nodes if nodes is not None else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full"
            yield from ((node.module, alias.name) for alias in node.names)


def target(module, name):
    """Return the file of ours that such an import reads, or None where it is not ours."""
    return next((m for m in (f"{module}.{name}", module) if m in FILES), None)


def package(module):
    """Return the entry of ftkit/ that a file belongs to: 'data' for ftkit.data.images."""
    return module.split(".")[1]


def above(module):
    """Return what this file imports from its own floor or a higher one, in functions too."""
    used = {target(*found) for found in imports(FILES[module])} - {None, "ftkit"}
    here = package(module)
    return {m for m in used if package(m) != here and FLOOR[package(m)] >= FLOOR[here]}


def test_ftkit_has_few_rooms_and_each_has_its_floor():
    entries = {path.name for path in (ROOT / "ftkit").iterdir() if any(path.rglob("*.py"))}
    entries |= {path.name for path in (ROOT / "ftkit").iterdir() if path.is_file()}
    assert len(entries) <= 24
    assert {package(module) for module in FILES if module != "ftkit"} == set(FLOOR)


@pytest.mark.parametrize("module", [m for m in FILES if m != "ftkit"])
def test_a_file_imports_nothing_from_its_own_or_a_higher_floor(module):
    assert above(module) == set()


@pytest.mark.parametrize("module", [m for m in FILES if m != "ftkit"])
def test_files_import_from_each_other_and_not_from_the_face(module):
    assert "ftkit" not in {target(*found) for found in imports(FILES[module])}


def test_a_higher_file_in_a_lower_one_would_be_seen(tmp_path, monkeypatch):
    wrong = tmp_path / "memory.py"
    wrong.write_text("def f():\n    from ftkit import registry\n    import ftkit.data.images\n")
    monkeypatch.setitem(FILES, "ftkit.machine.memory", wrong)
    assert above("ftkit.machine.memory") == {"ftkit.registry", "ftkit.data.images"}


def test_files_do_not_import_each_other_in_a_circle():
    graph = {}
    for module, path in FILES.items():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        if path.name == "__init__.py":  # it may end with imports of its own files, to register them
            while isinstance(body[-1], ast.ImportFrom) and body[-1].module == module:
                body.pop()
        graph[module] = {target(*found) for found in imports(path, body)} - {None, module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", FILES)
def test_ftkit_never_imports_recipes(module):
    assert not [m for m, _ in imports(FILES[module]) if m.split(".")[0] == "recipes"]


def test_reload_imports_nothing_of_ftkit_but_files_that_import_nothing_else_of_it():
    beside = [f"ftkit.finetuning.{name}" for name in ("in_time", "latency", "reload_language")]
    for file in ("ftkit.finetuning.reload", *beside):
        ours = {m for m, _ in imports(FILES[file]) if m.split(".")[0] == "ftkit"}
        assert ours <= set(beside)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_imports_only_public_names_of_ftkit(path):
    found = list(imports(path))
    assert found
    assert {module for module, _ in found} == {"ftkit"}
    assert {name for _, name in found} <= set(ftkit.__all__)


@pytest.mark.parametrize("name", ftkit.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ftkit, name) is not None


def test_nothing_is_imported_for_its_side_effect():
    """Except where a package hands on names, which no F401 is about."""
    for module, path in FILES.items():
        if path.name != "__init__.py":
            assert "noqa: F401" not in path.read_text(encoding="utf-8"), module
