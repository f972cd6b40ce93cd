"""Texts with other labels than one class: pairs, numbers, several classes; the whole main path."""

import json

import pyarrow.parquet as pq
import pytest
from conftest import leave_unverified
from fruit_texts import make_rows, number, pair, recipe_for, tagged, write
from scipy.stats import pearsonr
from sklearn.metrics import f1_score
from transformers import AutoConfig, pipeline

from ftkit import (
    Full,
    HeadOnly,
    Lora,
    finetune,
)
from ftkit.prediction.predict import predict

STRATEGIES = [
    Full(learning_rate=3e-3),
    HeadOnly(learning_rate=1e-2),
    Lora(learning_rate=1e-2, rank=4),
    Lora(learning_rate=1e-2, rank=4, merge=False),
]
NAMES = ["full", "head", "lora", "adapter"]


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture
def recipe(rows, checkpoint, tmp_path):
    return recipe_for(write(tmp_path, rows), checkpoint("bert"))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_pairs_train_and_the_pipeline_gives_the_predictions(strategy, recipe, rows, tmp_path):
    finetune(pair(recipe).override({"strategy": strategy}), tmp_path / "run")
    if not getattr(strategy, "merge", True):
        return  # finetune has verified the adapter in a fresh process
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    names = json.loads(table.schema.metadata[b"label_names"])
    classify = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
    found = zip(table["index"].to_pylist(), table["probability"].to_pylist(), strict=True)
    for index, wanted in found:
        given = {"text": rows[index]["text"], "text_pair": rows[index]["other"]}
        scores = {a["label"]: a["score"] for a in classify(given, top_k=None)}
        assert [scores[name] for name in names] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_numbers_train_and_the_pipeline_gives_them(strategy, recipe, rows, tmp_path):
    result = finetune(number(recipe).override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["r2", "rmse", "mae", "pearson", "spearman"]
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    shares = [rows[index]["share"] for index in table["index"]]
    assert table["label"] == pytest.approx(shares)
    wanted = pearsonr(table["prediction"], shares).statistic
    assert result.metrics["pearson"].value == pytest.approx(wanted, abs=1e-6)
    assert (tmp_path / "run" / "plots" / "predictions.png").is_file()
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert (config.num_labels, config.problem_type) == (1, "regression")
    if getattr(strategy, "merge", True):
        tell = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
        texts = [rows[index]["text"] for index in table["index"]]
        # in batches as the run had them: the head of such a model is steep, so that rounding shows
        answers = tell(texts, function_to_apply="none", batch_size=len(texts))
        found = [answer["score"] for answer in answers]
        assert found == pytest.approx(table["prediction"], abs=1e-4)


def test_a_share_is_learned(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    result = finetune(number(recipe).override({"train.epochs": 12}), tmp_path / "run")
    assert result.metrics["pearson"].value > 0.8


@pytest.mark.parametrize("given", [None, 0.3], ids=["chosen", "given"])
def test_a_threshold_is_kept_with_the_model_and_used(given, recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    monkeypatch.setattr("ftkit.tasks.thresholds.LEAST_LABELS", 5)
    recipe = tagged(recipe).override({"task.threshold": given, "train.epochs": 1})
    result = finetune(recipe, tmp_path / "run")
    threshold = result.task["threshold"]
    assert (threshold != 0.5) if given is None else (threshold == given)
    assert AutoConfig.from_pretrained(tmp_path / "run" / "model").threshold == threshold
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"where its probability is above {threshold:.3g}" in card
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    told = [[n for n, p in zip(("fruit", "metal"), row, strict=True) if p > threshold]
            for row in table["probability"]]  # fmt: skip
    assert table["prediction"] == told
    again = predict(tmp_path / "run", [recipe.data.path])
    wanted = dict(zip(table["index"], table["prediction"], strict=True))
    found = dict(zip(again.columns["index"], again.columns["prediction"], strict=True))
    assert {index: found[index] for index in wanted} == wanted


@pytest.mark.parametrize("strategy", STRATEGIES, ids=NAMES)
def test_tags_train_and_the_pipeline_gives_them(strategy, recipe, rows, tmp_path):
    result = finetune(tagged(recipe).override({"strategy": strategy}), tmp_path / "run")
    assert list(result.metrics) == ["micro_f1", "macro_f1", "auroc", "accuracy"]
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    kinds = [rows[index]["kinds"] for index in table["index"]]
    assert table["label"] == kinds
    marks = [[[n in row for n in ("fruit", "metal")] for row in side]
             for side in (kinds, table["prediction"])]  # fmt: skip
    wanted = f1_score(*marks, average="micro")
    assert result.metrics["micro_f1"].value == pytest.approx(wanted)
    assert (tmp_path / "run" / "plots" / "precision_recall.png").is_file()
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert config.problem_type == "multi_label_classification"
    if getattr(strategy, "merge", True):
        tell = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
        texts = [rows[index]["text"] for index in table["index"]]
        for answer, scores in zip(tell(texts, top_k=None), table["probability"], strict=True):
            found = {a["label"]: a["score"] for a in answer}  # sigmoid: the config says so
            assert [found["fruit"], found["metal"]] == pytest.approx(scores, abs=1e-4)


def test_the_best_settings_of_a_head_are_searched_for_numbers_too(recipe, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    search = {"kind": "head", "search": True, "solver": "adamw", "least_steps": 0}
    head = {"strategy": search, "train.epochs": 1}
    for task in (number, tagged):
        result = finetune(task(recipe).override(head), tmp_path / task.__name__)
        assert result.strategy["search"]
