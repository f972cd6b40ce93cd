"""Language models through the whole main path, and what a reader finds afterwards."""

import json
import math
import re

import language_checkpoints as tiny
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from talks import models_in, recipe_of, talks, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from ftkit import (
    Full,
    Lora,
    RunResult,
    VerificationError,
    finetune,
    registry,
)
from ftkit.cli.main import main
from ftkit.finetuning.verify import Verified, verify
from ftkit.planning.check import check


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return models_in(tmp_path_factory.mktemp)


CASES = [
    ("llama", None, "text", Full(learning_rate=3e-3)),
    ("gpt2", None, "text", Lora(learning_rate=3e-3, rank=4)),
    ("llama", tiny.CHATML, "talks", Lora(learning_rate=3e-3, rank=4)),
    ("gpt2", tiny.MARKED, "talks", Full(learning_rate=3e-3)),
    ("gpt2", None, "pairs", Lora(learning_rate=3e-3, rank=4, merge=False)),
]


@pytest.mark.parametrize(
    ("family", "template", "form", "strategy"),
    CASES,
    ids=["llama-full", "gpt2-lora", "llama-chat-lora", "gpt2-marked-full", "gpt2-plain-adapter"],
)
def test_a_run_leaves_what_the_public_libraries_give(
    family, template, form, strategy, files, models, tmp_path
):
    recipe = recipe_of(models(family, template), files[form], strategy)
    result = finetune(recipe, tmp_path / "run")
    assert list(result.metrics) == ["perplexity", "token_accuracy", "perplexity_before"]
    before, after = result.metrics["perplexity_before"], result.metrics["perplexity"]
    assert after.low < after.value < after.high < before.value
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert result.n == len(table["index"]) == 10
    folder = tmp_path / "run" / "model"
    whole = sum(n * loss for n, loss in zip(table["tokens"], table["loss"], strict=True))
    assert after.value == pytest.approx(math.exp(whole / sum(table["tokens"])), rel=1e-5)
    assert (tmp_path / "run" / "plots" / "perplexity.png").exists()
    assert "perplexity before" in (folder / "README.md").read_text()
    if strategy.kind == "lora" and not strategy.merge:
        return  # finetune has verified the adapter in a fresh process
    assert 0 < result.latency_seconds < 60
    assert "num_labels" not in json.loads((folder / "config.json").read_text())
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    if form == "text":
        text = min(table["text"], key=len)
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=ids).loss  # transformers' own
        assert table["loss"][table["text"].index(text)] == pytest.approx(float(loss), abs=1e-4)
        assert tokenizer.chat_template is None
        return
    assert tokenizer.chat_template == template
    write = pipeline("text-generation", model=str(folder))
    written = [row for row, text in enumerate(table["written"]) if text is not None]
    assert len(written) == 4
    for row in written:
        talk = talks(48)[table["index"][row]]
        assert table["prompt"][row] == talk[-2]["content"]
        answer = write(talk[:-1], max_new_tokens=8, do_sample=False, return_full_text=False)
        assert answer[0]["generated_text"] == table["written"][row]


def test_verification_sees_other_weights_and_other_answers(files, models, tmp_path, monkeypatch):
    seen = {}

    def remember(*arguments):
        seen["arguments"] = arguments
        return Verified(0, None)

    monkeypatch.setattr("ftkit.finetuning.finetune.verify", remember)
    finetune(recipe_of(models("llama", tiny.CHATML), files["talks"]), tmp_path / "run")
    folder, task, splits, outputs, *_ = seen["arguments"]
    assert verify(folder, task, splits, outputs).rows == 10
    lied = tuple(None if text is None else text + " never said" for text in outputs.answers)
    with pytest.raises(VerificationError, match="answers are others after reloading"):
        verify(
            folder, task, splits, type(outputs)(outputs.nats, outputs.tokens, outputs.right, lied)
        )
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.add_(1.0)
    model.save_pretrained(folder)
    with pytest.raises(VerificationError, match="after reloading"):
        verify(folder, task, splits, outputs)


def test_the_card_runs_as_it_stands(files, models, tmp_path, capsys, cold):
    recipe = recipe_of(models("gpt2", None), files["pairs"])
    finetune(recipe, tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.S)
    assert '[{"role": "user"' in snippet
    exec(snippet.replace("PATH_OR_REPO", str(tmp_path / "run" / "model")), {})
    head = yaml.safe_load(card.split("---")[1])
    assert head["pipeline_tag"] == "text-generation"
    figures = [metric["type"] for metric in head["model-index"][0]["results"][0]["metrics"]]
    assert figures == ["perplexity", "token_accuracy"]
    assert "classification" not in card
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "model").chat_template


def test_check_says_what_would_be_done_and_estimates_it(files, models):
    report = check(recipe_of(models("llama", tiny.CHATML), files["talks"]))
    assert not report.errors
    assert report.plan.estimate.seconds > 0
    assert report.splits["train"]["spread"] == "no labels"


def test_the_shipped_recipe_runs_on_a_tiny_model_of_its_family(
    files, models, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    small = ["--data", str(files["talks"]), "--backbone", str(models("llama", tiny.CHATML))]
    assert main(["train", "smollm-lora", "--smoke", "--out", "run", *small]) == 0
    result = RunResult.read(tmp_path / "run")
    assert result.strategy["rank"] == registry.find("smollm-lora").strategy.rank
    assert result.task["messages"] == "messages"
