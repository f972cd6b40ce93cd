"""Recipes are found by name in installed packages and by path; what is broken says where."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from ftkit import Backbone, Data, Recipe, RecipeError
from ftkit.registry import find, names

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
BUILT_IN = {p.stem.replace("_", "-") for p in FOLDER.glob("*.py")} - {"--init--"}
SOURCE = """
from ftkit import Backbone, Data, Recipe
recipe = Recipe(name="{name}", data=Data(path="rows"), backbone=Backbone(id="owner/vit"))
"""


def python(code, path=()):
    """Run code in a fresh process with folders first on its path; return it when it is done."""
    code = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that lays a distribution with this entry point and these files on the path."""

    def lay(entry_point, **files):
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ftkit.recipes]\ntheirs = {entry_point}\n")
        for name, text in files.items():
            file = tmp_path / (name.replace("__in__", "/") + ".py")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    yield lay
    for module in [name for name in sys.modules if name.startswith("ftkit_theirs")]:
        del sys.modules[module]


# by name


def test_built_in_recipes_are_listed_sorted():
    assert set(names()) >= BUILT_IN
    assert names() == sorted(names())


def test_listing_imports_no_recipe():
    done = python(
        "from ftkit.registry import names\n"
        "names()\n"
        "print([m for m in sys.modules if m.startswith('recipes.') or m in ('torch', 'datasets')])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_built_in_recipe_is_found_under_its_own_name(name):
    recipe = find(name)
    assert isinstance(recipe, Recipe)
    assert recipe.name == name


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(RecipeError, match="no recipe 'vit-cifr'; did you mean 'vit-cifar'"):
        find("vit-cifr")


def test_the_answer_to_a_name_like_none_is_whole_sentences():
    with pytest.raises(RecipeError, match=r"no recipe 'zzzzz'[;.:,] "):
        find("zzzzz")


# by path


def test_a_python_file_is_found_by_path(tmp_path):
    (tmp_path / "my-own.py").write_text(SOURCE.format(name="my-own"))
    assert find(str(tmp_path / "my-own.py")) == Recipe(
        name="my-own", data=Data(path="rows"), backbone=Backbone(id="owner/vit")
    )


def test_a_python_file_that_changed_is_read_again(tmp_path):
    file = tmp_path / "mine.py"
    for name in ("first", "second-one"):
        file.write_text(SOURCE.format(name=name))
        assert find(str(file)).name == name


def test_a_json_file_is_found_by_path(tmp_path):
    recipe = find("vit-cifar").override({"train.epochs": 7, "description": "蘑菇"})
    (tmp_path / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    assert find(str(tmp_path / "recipe.json")) == recipe


@pytest.mark.parametrize("name", ["nowhere.py", "no/where.json"])
def test_a_path_to_nothing_is_refused(name):
    with pytest.raises(RecipeError, match=f"'{name}': there is no such file"):
        find(name)


def refused(file, content, said):
    """Write the file, and hold that it is refused with these words and its path."""
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=said) as caught:
        find(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nrecipe = = 2\n", "SyntaxError: .*line 2"),
        ("x = 1\n", "must export `recipe`"),
        ("recipe = {'name': 'x'}\n", "must export `recipe`"),
        ("import nowhere_at_all\n", "ModuleNotFoundError: .*nowhere_at_all"),
        ("from ftkit import Train\nTrain(epochs=0)\n", "train.epochs = 0: expected greater than 0"),
        ("raise ValueError('why')\n", "ValueError: why"),
    ],
    ids=["syntax", "no-recipe", "a-dict", "import", "bad-value", "raises"],
)
def test_a_broken_python_file_is_named_with_its_path(tmp_path, text, said):
    refused(tmp_path / "broken.py", text.encode(), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"name": "x"}', "missing"),
        (b"\xff\xfe{}", "utf-8"),
    ],
)
def test_a_broken_json_file_is_named_with_its_path(tmp_path, content, said):
    refused(tmp_path / "broken.json", content, said)


# other distributions


def test_another_distribution_s_module_is_found(install):
    install("ftkit_theirs_owl", ftkit_theirs_owl=SOURCE.format(name="owl"))
    assert set(names()) == {*BUILT_IN, "ftkit-theirs-owl"}
    assert find("ftkit-theirs-owl").name == "owl"


def test_another_distribution_s_package_gives_all_its_modules(install):
    install(
        "ftkit_theirs",
        ftkit_theirs__in____init__="",
        ftkit_theirs__in__swin_birds=SOURCE.format(name="swin-birds"),
        ftkit_theirs__in__swin_bees=SOURCE.format(name="swin-bees"),
        ftkit_theirs__in___private="raise SystemExit",
    )
    assert set(names()) == {*BUILT_IN, "swin-bees", "swin-birds"}
    assert find("swin-bees").name == "swin-bees"


@pytest.mark.parametrize("module", ["ftkit_theirs_gone", "ftkit_theirs_gone.recipes"])
def test_another_distribution_that_is_gone_is_named_to_who_asks_for_its_recipes(install, module):
    install(module)
    assert set(names()) == BUILT_IN
    assert find("vit-cifar").name == "vit-cifar"
    with pytest.raises(RecipeError, match=rf"'owl'.*'{module}'.*is gone, reinstall theirs"):
        find("owl")


def test_another_distribution_s_broken_module_is_a_recipe_error(install):
    install("ftkit_theirs_broken", ftkit_theirs_broken="recipe = = 2\n")
    assert "ftkit-theirs-broken" in names()
    with pytest.raises(RecipeError, match=r"ftkit_theirs_broken.*SyntaxError"):
        find("ftkit-theirs-broken")


def test_another_distribution_that_is_broken_leaves_the_others_usable(install):
    install("ftkit_theirs_broken", ftkit_theirs_broken="recipe = = 2\n")
    assert find("vit-cifar").name == "vit-cifar"


@pytest.mark.parametrize(
    "init",
    ["", "OWNER = 'torchtune'\n", "raise ModuleNotFoundError('no package')\n", None],
    ids=["plain", "owned", "refuses", "none"],
)
def test_a_foreign_package_recipes_before_ours_is_named(tmp_path, init):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "full_finetune.py").write_text("raise SystemExit\n")
    if init is not None:
        (tmp_path / "recipes" / "__init__.py").write_text(init)
    code = (
        "from ftkit import RecipeError\n"
        "from ftkit.registry import find\n"
        "try: print(find('vit-cifar').name)\n"
        "except RecipeError as error: print('refused:', error)"
    )
    done = python(code, [tmp_path])
    if init is None:  # a folder without __init__.py does not hide a package
        assert done.stdout.strip() == "vit-cifar", done.stderr
    else:
        assert f"refused: the package 'recipes' at {tmp_path / 'recipes'} is not ftkit's" in (
            done.stdout
        ), done.stderr
