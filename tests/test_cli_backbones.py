"""`--backbone auto` and `--backbones A,B,C`: what the commands take, print and leave."""

import json
import shlex

import pytest

from ftkit import Recipe
from ftkit.cli.backbones import named, settled, words_for
from ftkit.cli.main import main
from ftkit.cli.request import resolve
from ftkit.errors import RecipeError
from ftkit.recipe import Backbone


@pytest.fixture
def tiny(tiny_recipe, tmp_path, monkeypatch):
    """Path of a recipe that needs no network, in an empty folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ftkit.planning.backbone_names.EMBEDDED", {})
    file = tmp_path / "tiny.json"
    file.write_text(tiny_recipe.to_json())
    return file


def _after(flag, words):
    """The word after a flag; None where there is none."""
    return words[words.index(flag) + 1] if flag in words else None


def test_names_are_parted_by_commas():
    assert named(None, None) == named("alice/vit", None) == ()
    assert named("auto", None) == named(None, "auto") == ("auto",)
    assert named(None, "a, b/c,auto") == ("a", "b/c", "auto")
    assert named("auto", "a") == ("a",)


@pytest.mark.parametrize(
    ("backbone", "backbones", "said"),
    [("a", "b", "give one of them"), (None, "a,,b", "expected names with commas between")],
)
def test_what_cannot_be_meant_is_refused(backbone, backbones, said):
    with pytest.raises(RecipeError, match=said):
        named(backbone, backbones)


def test_what_the_user_set_of_a_backbone_is_known():
    assert settled(["backbone.image_size=64", "train.epochs=2"]) == {"image_size"}
    for said in ("backbone.allow_pickle=true", "backbone.revision=main", 'backbone={"id": "a"}'):
        with pytest.raises(RecipeError, match="is for one backbone, and several are to be chosen"):
            settled([said])


def test_the_words_for_a_backbone_are_what_differs_from_the_recipe():
    own = Backbone(id="a", image_size=96, revision="abc")
    other = Backbone(id="b", image_size=96, layers=4, pooling="first")
    assert words_for(other, own) == ("b", ["backbone.layers=4", "backbone.pooling=first"])
    whole = own.model_copy(update={"image_size": None})
    assert words_for(whole, own) == (None, ["backbone.image_size=null"])  # its revision stays
    recipe = resolve("effnet-digits", None, None, None, ["backbone.image_size=null"], False, None)
    assert recipe.backbone.image_size is None


@pytest.mark.usefixtures("unverified")
def test_training_takes_the_best_backbone_and_keeps_what_was_found(tiny, checkpoint, capsys):
    asked = ["train", str(tiny), "--strategy", "head", "--backbones"]
    asked += [f"auto,{checkpoint('timm-resnet')}", "--out", "run"]
    assert main(asked) == 0
    said = capsys.readouterr()
    run = tiny.parent / "run"
    found = json.loads((run / "backbones.json").read_text())
    used = Recipe.from_json((run / "recipe.json").read_text())
    chosen = next(each for each in found["candidates"] if each["name"] == found["chosen"])
    assert (used.backbone.id, used.backbone.image_size, used.backbone.layers) == (
        chosen["id"], chosen["image_size"], chosen["layers"],
    )  # fmt: skip
    assert used.name == "tiny-colours-auto"
    assert (run / "plots" / "backbones.png").exists()
    assert (run / "backbones.md").read_text().startswith("# Backbones\n\n![](plots/backbones.png)")
    assert f"chosen   {found['chosen']}" in said.err
    assert main([*asked, "--resume"]) == 0  # it holds this run; nothing is chosen again
    assert "candidates" not in capsys.readouterr().err
    assert main([*asked[:4], "--backbones", "./other", "--out", "run", "--resume"]) == 2
    assert "this run began with backbone" in capsys.readouterr().err
    words = next(line for line in said.out.splitlines() if line.startswith("next"))
    compare = shlex.split(words.partition(", ")[2])
    places = [place for place, word in enumerate(compare) if word == "--set"]
    changes = [compare[place + 1] for place in places]
    name = _after("--backbone", compare)
    assert resolve(str(tiny), None, None, name, changes, False, None).backbone == used.backbone


def test_comparing_backbones_prints_a_table_and_the_command_that_trains(tiny, checkpoint, capsys):
    resnet = checkpoint("timm-resnet")
    words = ["compare", str(tiny), "--backbones", f"{resnet}", "--set", "backbone.image_size=32"]
    assert main(words) == 0
    said = capsys.readouterr().out
    folder = tiny.parent / "runs" / "backbones-tiny-colours"
    assert {file.name for file in folder.iterdir()} == {
        "backbones.json", "backbones.md", "backbones.png",
    }  # fmt: skip
    following = shlex.split(next(line for line in said.splitlines() if line.startswith("next"))[5:])
    assert following[:3] == ["ftkit", "train", str(tiny)]
    assert _after("--backbone", following) == str(resnet)
    assert "backbone.image_size=32" in following
    assert main(words) == 0  # the same folder is written again


def test_a_folder_with_other_things_is_left_alone(tiny, capsys):
    (tiny.parent / "mine").mkdir()
    (tiny.parent / "mine" / "notes.txt").write_text("x")
    assert main(["compare", str(tiny), "--backbones", "auto", "--out", "mine"]) == 2
    assert "this folder holds other things" in capsys.readouterr().err
    assert [file.name for file in (tiny.parent / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check {tiny} --backbone auto", "--backbone auto is for ftkit train"),
        ("compare {tiny} --backbone auto", "ftkit compare --backbones A,B,C"),
        ("compare {tiny} --backbones auto --strategies head", "leave out --strategies"),
        ("compare {tiny} --backbones auto --seeds 2", "leave out --strategies"),
        ("compare . --backbones auto", "leave out --strategies, --seeds, finished runs"),
        ("train {tiny} --backbones a --backbone b", "give one of them"),
        ("train mlp-digits --backbone auto", "trains a perceptron"),
        ("compare bart-cldr --backbones auto", "translation has none"),
        ("train {tiny} --backbones ./nowhere", "there is no such folder"),
        ("train {tiny} --backbones a,b --set backbone.allow_pickle=true", "is for one backbone"),
    ],
)
def test_wrong_requests_are_one_line(words, said, tiny, capsys):
    there = sorted(tiny.parent.rglob("*"))
    assert main(words.format(tiny=tiny).split()) == 2
    complaints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(complaints) == 1
    assert said in complaints[0]
    assert sorted(tiny.parent.rglob("*")) == there
