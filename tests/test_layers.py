"""The order of ftkit's files, read from their imports: each rests only on what lies below it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ftkit

ROOT = Path(ftkit.__file__).parents[1]
# from the ground up; a folder counts as one. ftkit/__init__.py only hands on names, so it is none.
GROUPS = (
    # what a run is made of, and what stands alone
    (
        "addresses", "errors", "permissions", "settings", "recipe", "strangers", "reload",
        "reload_language",
        "launch", "fresh", "terminal", "streams", "denied", "explain", "memory", "names", "options",
        "checksums",
        "interruption", "peers", "machines", "latency", "selection",
        "mlp", "games", "encoders", "doctor_hub", "doctor_probes",
    ),
    # the machine, the Hub, what was measured
    (
        "registry", "result", "finished", "validation", "embedded", "cache", "hub", "pull",
        "runtime", "metrics",
    ),
    # rows, inputs, models
    ("data", "tasks", "model_checks", "models", "trained", "seq2seq", "mlp_model", "build",
     "answers"),
    # the stages of a run
    (
        "pissa", "adapt", "evaluation", "backup", "heads", "features", "losses", "journal",
        "batches", "scaling", "checkpoint", "background", "sharded", "callbacks", "resuming",
        "layers", "micro_batch",
        "optimiser", "unfreezing", "trainer",
        "training", "mlp_state", "mlp_fit", "mlp_reload", "probe", "optimum", "penalty",
        "linear_head",
        "thresholds", "stages", "precision",
        "saving", "plots",
        "outcomes", "card", "card_words", "card_metadata", "text_card", "folder", "verify",
        "translate", "language",
        "language_card",
    ),
    # the main path, and what looks at runs
    (
        "run", "estimate", "range_test", "batch_size", "choose", "decide", "search_space", "sweep",
        "sweep_ray", "check", "compare", "report", "push", "predict", "mlp_show", "play",
        "doctor",
    ),
    ("own_data", "request", "cli", "cli_mlp", "cli_sweep", "cli_hub", "cli_cache", "cli_compare",
     "cli_predict"),
)  # fmt: skip
LEVEL = {part: level for level, group in enumerate(GROUPS) for part in group}

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


def part(module):
    """Return the part of ftkit that a file belongs to: 'data' for ftkit.data.images."""
    _, _, below = module.partition(".")
    name = below.partition(".")[0]
    return "mlp" if name.startswith("mlp_") and name not in LEVEL else name


def above(module):
    """Return what this file imports from a higher group, in functions too."""
    used = {target(*found) for found in imports(FILES[module])} - {None, "ftkit"}
    return {other for other in used if LEVEL[part(other)] > LEVEL[part(module)]}


def test_every_file_has_its_place_in_the_order():
    for module, path in FILES.items():
        assert module == "ftkit" or part(module) in LEVEL, (
            f"{path.relative_to(ROOT)} is in no group: add '{part(module)}' to the lowest group "
            f"of GROUPS in tests/test_layers.py that it can stand in"
        )


@pytest.mark.parametrize("module", [m for m in FILES if m != "ftkit" and part(m) in LEVEL])
def test_a_file_imports_nothing_from_a_later_group(module):
    assert above(module) == set()


@pytest.mark.parametrize("module", [m for m in FILES if m != "ftkit"])
def test_files_import_from_each_other_and_not_from_the_face(module):
    assert "ftkit" not in {target(*found) for found in imports(FILES[module])}


def test_a_higher_file_in_a_lower_one_would_be_seen(tmp_path, monkeypatch):
    wrong = tmp_path / "errors.py"
    wrong.write_text("def f():\n    from ftkit import run\n    import ftkit.data.images\n")
    monkeypatch.setitem(FILES, "ftkit.errors", wrong)
    assert above("ftkit.errors") == {"ftkit.run", "ftkit.data.images"}


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


def test_reload_imports_nothing_of_ftkit_but_two_files_that_import_nothing_of_it():
    ours = [
        [m for m, _ in imports(FILES[file]) if m.split(".")[0] == "ftkit"]
        for file in ("ftkit.reload", "ftkit.latency", "ftkit.reload_language")
    ]
    assert ours == [["ftkit.latency", "ftkit.reload_language"], [], []]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_imports_only_public_names_of_ftkit(path):
    found = list(imports(path))
    assert found
    assert {module for module, _ in found} == {"ftkit"}
    assert {name for _, name in found} <= set(ftkit.__all__)


@pytest.mark.parametrize("name", ftkit.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ftkit, name) is not None
