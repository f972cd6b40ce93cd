"""What a perceptron cannot do is said in one line, and its gradient is looked at."""

import pytest
from PIL import Image

import ftkit.finetuning.finetune
import ftkit.training.perceptron_fit
import ftkit.training.perceptron_state
from ftkit import (
    DataError,
    ModelError,
    RecipeError,
    TabularClassification,
    TabularRegression,
    TextClassification,
    TrainingError,
    finetune,
    load_perceptron,
)
from ftkit.cli.main import main


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": {"kind": "lora"}}, "lora needs a pretrained backbone"),
        ({"train.class_weights": "balanced"}, "train.class_weights is not for Mlp"),
        ({"train.best_by": "r2"}, "train.best_by = 'r2'"),
        ({"backbone.activation": "swish"}, "backbone.activation = 'swish'"),
        ({"backbone.hidden": [0]}, "backbone.hidden"),
        ({"backbone.start": "nowhere"}, "nowhere holds no saved perceptron"),
        ({"backbone.fine_tune": {"frozen": 3}}, "one must move"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line(colours, tmp_path, changes, says):
    with pytest.raises((RecipeError, ModelError), match=says) as error:
        finetune(colours.override(changes), tmp_path / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "task", "says"),
    [
        (
            "a,b,label\n1,2,x\n3,inf,y\n5,6,x\n",
            TabularClassification(),
            "train row 1: one of its numbers",
        ),
        ("a,label\n1,x\n2,x\n3,x\n", TabularClassification(), "1 class"),
        ("text,label\nhello,x\n,y\nhow,x\nnow,y\n", TextClassification(), "the text is empty"),
        ("a,label\n1,x\n2,y\n3,x\n", TabularRegression(), "expected a number, got 'x'"),
        ("a,label\nu,x\nv,y\nw,x\n", TabularClassification(), "no column of numbers"),
        ("a,b,label\n1,2,x\n", TabularClassification(columns=("c",)), "no column 'c'"),
    ],
)
def test_bad_data_is_one_line(flowers, tmp_path, text, task, says):
    (tmp_path / "bad.csv").write_text(text)
    recipe = flowers.override({"data.path": str(tmp_path / "bad.csv"), "task": task})
    with pytest.raises(DataError, match=says) as error:
        finetune(recipe, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_wrong_width_at_predict_is_one_line(flowers, tmp_path, unverified):
    finetune(flowers.override({"train.epochs": 1}), tmp_path / "run")
    with pytest.raises(ValueError, match="expected rows of 2 numbers, got 3"):
        load_perceptron(tmp_path / "run" / "model").predict([[1.0, 2.0, 3.0]])


def test_a_loss_that_is_no_number_stops_the_run(flowers, tmp_path):
    recipe = flowers.override(
        {"strategy.learning_rate": 1e30, "backbone.update": "sgd", "backbone.activation": "relu"}
    )
    with pytest.raises(TrainingError, match="the loss became nan by step"):
        finetune(recipe, tmp_path / "run")


def test_mlp_show_draws_and_mlp_check_agrees(flowers, colours, tmp_path, capsys, unverified):
    finetune(flowers.override({"train.epochs": 2}), tmp_path / "run")
    finetune(colours, tmp_path / "pictures")
    for run in ("run", "pictures"):
        assert main(["mlp", "show", str(tmp_path / run)]) == 0
        for line in capsys.readouterr().out.split():
            assert Image.open(line).size[0] > 300
        assert main(["mlp", "check", str(tmp_path / run)]) == 0
        assert "they agree to" in capsys.readouterr().out
    assert main(["mlp", "check", "effnet-digits"]) == 2
    assert "has no perceptron" in capsys.readouterr().err


def test_mlp_check_fails_where_the_gradient_is_wrong(flowers, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.json").write_text(flowers.to_json())
    right = ftkit.perceptron.network.times_slope

    def wrong(name, delta, z, h):
        right(name, delta, z, h)
        delta.mul_(1.001)

    monkeypatch.setattr(ftkit.perceptron.network, "times_slope", wrong)
    assert main(["mlp", "check", str(tmp_path / "mine.json")]) == 1
    assert "the gradients differ by" in capsys.readouterr().err
