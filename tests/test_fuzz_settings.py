"""Settings of any kind: a recipe, or one line that says what is wrong with it."""

import json

import pytest
from fuzzing import cases, damaged, require_one_line
from hypothesis import given
from hypothesis import strategies as some

from ftkit import FtkitError, Recipe, registry
from ftkit.cli.main import main
from ftkit.cli.request import resolve
from ftkit.recipe.settings import _paths

NAMES = registry.names()
RECIPES = {name: registry.find(name) for name in NAMES}
PATHS = sorted({path for recipe in RECIPES.values() for path in _paths(recipe)})
KINDS = ("full", "head", "lora", "lpft", "mlp", "pretrained", "text-classification", "translation")
WORDS = some.sampled_from(
    [*KINDS, *PATHS, *NAMES, "", ".", "/", "\n", "a\nb", "\0", "../x", "ü", "\udc80"]
)
NUMBERS = some.one_of(
    some.integers(-3, 40),
    some.integers(),
    some.floats(),
    some.sampled_from([10**400, -(10**19), 2**31, 2**63, 1e308, 1e-320]),
)
PLAIN = some.one_of(some.none(), some.booleans(), NUMBERS, WORDS, some.text(max_size=30))
VALUES = some.recursive(
    PLAIN,
    lambda inner: some.one_of(
        some.lists(inner, max_size=4),
        some.dictionaries(some.one_of(WORDS, some.text(max_size=8)), inner, max_size=4),
    ),
    max_leaves=8,
)
ODD = some.sampled_from(
    [
        "9" * 5_000,
        "-" + "9" * 5_000,
        "[" * 100_000,
        '{"a":' * 5_000,
        "NaN",
        "-Infinity",
        "1e999",
        '"\\ud800"',
        "\ufeff{}",
        "{}" * 2,
        '{"name": 1, "name": 2}',
        "null",
        "",
    ]
)
ANY_PATH = some.one_of(
    some.sampled_from(PATHS),
    some.builds("{}.{}".format, some.sampled_from(PATHS), WORDS),
    some.text(max_size=20),
)


def check(make):
    """Require a recipe that is read again from its JSON, or an error of one line."""
    try:
        recipe = make()
    except FtkitError as error:
        require_one_line(error)
    else:
        assert Recipe.from_json(recipe.to_json()) == recipe


@cases(600, 150)
@given(some.sampled_from(NAMES), some.dictionaries(ANY_PATH, VALUES, min_size=1, max_size=3))
def test_changes_of_any_kind(name, changes):
    check(lambda: RECIPES[name].override(changes))


@cases(600, 100)
@given(some.sampled_from(NAMES), some.sampled_from(PATHS), VALUES, some.booleans())
def test_recipes_with_any_value_anywhere(name, path, value, drop):
    values = json.loads(RECIPES[name].to_json())
    *parents, leaf = path.split(".")
    node = values
    for part in parents:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node[leaf] = value
        if drop:
            node.pop(sorted(node)[len(repr(value)) % len(node)])
    check(lambda: Recipe.from_json(json.dumps(values)))


@cases(300, 50)
@given(some.one_of(VALUES.map(json.dumps), some.text(max_size=200), ODD))
def test_json_of_any_kind(text):
    check(lambda: Recipe.from_json(text))


@cases(600, 150)
@given(
    some.one_of(some.none(), some.sampled_from(NAMES), WORDS),
    some.one_of(some.none(), WORDS),
    some.one_of(some.none(), WORDS, some.text(max_size=20)),
    some.one_of(some.none(), WORDS, some.text(max_size=20)),
    some.lists(
        some.one_of(
            some.builds("{}={}".format, ANY_PATH, VALUES.map(json.dumps)),
            some.builds("{}={}".format, ANY_PATH, some.one_of(some.text(max_size=20), ODD)),
            some.text(max_size=20),
        ),
        max_size=3,
    ),
    some.booleans(),
)
def test_command_lines_of_any_kind(name, strategy, data, backbone, changes, smoke):
    name = NAMES[0] if name is not None and "/" in name else name  # which asks the Hub
    check(lambda: resolve(name, strategy, data, backbone, changes, smoke, None))


@cases(200, 30)
@given(
    some.lists(
        some.one_of(
            some.sampled_from(["--set", "--epochs", "--seed", "--out", "--smoke", "--data", "--"]),
            some.text(max_size=10),
            NUMBERS.map(str),
        ),
        max_size=4,
    )
)
def test_words_of_any_kind_end_with_a_status(capfd, words):
    assert main(["train", "mlp-digits", "--show", *words]) in (0, 2)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") <= 1, said


@cases(300, 40)
@given(some.sampled_from(NAMES), some.randoms(use_true_random=False))
def test_recipe_files_with_damaged_bytes(tmp_path_factory, name, draw):
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_bytes(damaged(RECIPES[name].to_json().encode(), draw))
    check(lambda: registry.find(str(file)))


@pytest.mark.parametrize("word", ["\udc80", "a\0b", "9" * 5_000, "x" * 100_000])
@pytest.mark.parametrize("flag", ["--data", "--backbone", "--set", "--strategy", "--epochs", ""])
def test_odd_words_in_every_place(capfd, flag, word):
    words = [flag, f"description={word}" if flag == "--set" else word] if flag else [word]
    assert main(["train", *(["mlp-digits"] if flag else []), "--show", *words]) in (0, 2)
    assert capfd.readouterr().err.count("\n") <= 1
