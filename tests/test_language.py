"""Language models through the whole main path, and what a reader finds afterwards."""

import json
import math
import re

import language_checkpoints as tiny
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import leave_unverified
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from ftkit import (
    Backbone,
    Data,
    DataError,
    Full,
    LanguageModelling,
    Lora,
    Recipe,
    RecipeError,
    RunResult,
    Train,
    VerificationError,
    finetune,
    registry,
)
from ftkit.adapt import adapt, lora_targets
from ftkit.check import check
from ftkit.checkpoint import load_moving, moving, save_moving
from ftkit.cli import main
from ftkit.models import load_model
from ftkit.verify import Verified, verify


def talks(count):
    """Return short conversations, every third one of two turns."""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        asked, answered, more = random.choice(tiny.SENTENCES, 3)
        talk = [
            {"role": "user", "content": f"{asked} {number}"},
            {"role": "assistant", "content": str(answered)},
        ]
        if number % 3 == 0:
            talk += [
                {"role": "user", "content": str(more)},
                {"role": "assistant", "content": "Yes."},
            ]
        found.append(talk)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same few rows as plain text, as conversations, and as prompts with answers."""
    folder = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(tiny.SENTENCES, 1 + n % 9)) + str(n) for n in range(48)]
    (folder / "rows.txt").write_text("\n\n".join(lines))
    rows = [json.dumps({"messages": talk, "source": "here"}) for talk in talks(48)]
    (folder / "talks.jsonl").write_text("\n".join(rows))
    pairs = [
        json.dumps({"instruction": talk[0]["content"], "response": talk[1]["content"]})
        for talk in talks(48)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(pairs))
    return {
        "text": folder / "rows.txt",
        "talks": folder / "talks.jsonl",
        "pairs": folder / "pairs.jsonl",
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A function from family and template to a tiny checkpoint."""
    made = {}

    def make(family, template=None):
        if (family, template) not in made:
            made[family, template] = tiny.make(
                family, tmp_path_factory.mktemp(family), template, 3.0
            )
        return made[family, template]

    return make


def recipe_of(model, data, strategy=None, **task):
    return Recipe(
        name="tiny-words",
        data=Data(path=str(data)),
        backbone=Backbone(id=str(model)),
        task=LanguageModelling(max_new_tokens=8, answers=4, **task),
        strategy=strategy or Full(learning_rate=3e-3),
        train=Train(epochs=2, batch_size=4),
    )


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

    monkeypatch.setattr("ftkit.run.verify", remember)
    finetune(recipe_of(models("llama", tiny.CHATML), files["talks"]), tmp_path / "run")
    folder, task, splits, outputs = seen["arguments"]
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


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lora_finds_the_layers_and_leaves_tied_embeddings_tied(family, models, tmp_path):
    model, _ = load_model(Backbone(id=str(models(family))), (), 0, LanguageModelling())
    names = lora_targets(model, ["lm_head"])
    assert len(names) == {"llama": 14, "gpt2": 8}[family]
    adapted = adapt(Lora(rank=2), model)
    assert not adapted.peft_config["default"].modules_to_save
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == {
        n for n, _ in adapted.named_parameters() if "lora_" in n
    }
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        expected = adapted.eval()(input_ids=ids).logits
        merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight is again.get_output_embeddings().weight
    with torch.inference_mode():
        found = again(input_ids=ids).logits
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("strategy", [Full(), Lora(rank=2)], ids=["full", "lora"])
def test_a_checkpoint_of_tied_weights_comes_back(strategy, models, tmp_path):
    model, _ = load_model(Backbone(id=str(models("llama"))), (), 0, LanguageModelling())
    model = adapt(strategy, model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_moving(moving(model), tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    load_moving(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_packed_and_padded_training_take_the_same_step(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    losses = {}
    for packed in (True, False):
        recipe = recipe_of(models("llama", tiny.CHATML), files["talks"], pack=packed)
        recipe = recipe.override({"train.epochs": 1, "train.batch_size": 64, "train.warmup": 0.0})
        finetune(recipe, tmp_path / str(packed))
        lines = (tmp_path / str(packed) / "log.jsonl").read_text().splitlines()
        losses[packed] = [json.loads(line) for line in lines]
    assert losses[True][0]["loss"] == pytest.approx(losses[False][0]["loss"], abs=1e-4)
    ends = [found[-1]["validation_perplexity"] for found in losses.values()]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_micro_batches_of_unequal_tokens_count_as_one_batch(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    found = {}
    for micro in (32, 4):  # all rows in one step, at once and in parts
        recipe = recipe_of(models("llama"), files["text"]).override(
            {"train.batch_size": 32, "train.micro_batch_size": micro, "train.warmup": 0.0}
        )
        found[micro] = finetune(recipe, tmp_path / str(micro)).metrics["perplexity"].value
    assert found[32] == pytest.approx(found[4], rel=1e-4)


def test_going_on_gives_the_same_figures_before_and_after(files, models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = recipe_of(models("llama"), files["text"])
    whole = finetune(recipe, tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ftkit.trainer.FrozenTrainer._load_best_model", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, tmp_path / "cut")
    again = finetune(recipe, tmp_path / "cut", resume=True)
    for name, figure in whole.metrics.items():
        assert again.metrics[name].value == pytest.approx(figure.value, rel=1e-6), name


@pytest.mark.parametrize("kind", ["head", "lpft"])
def test_there_is_no_head_to_be_trained_alone(kind, models, files):
    with pytest.raises(RecipeError, match="trains a new head, and text-generation has none"):
        recipe_of(models("llama"), files["text"]).with_strategy(kind)


def test_classes_have_no_weights_where_there_are_none(models, files, tmp_path):
    recipe = recipe_of(models("llama"), files["text"])
    with pytest.raises(RecipeError, match="a language model has no classes"):
        finetune(recipe.override({"train.class_weights": "balanced"}), tmp_path / "run")


def test_the_card_runs_as_it_stands(files, models, tmp_path, capsys):
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


BAD = {
    "no conversation": ("[]", r"row 5: no message is the assistant's"),
    "an unknown role": (
        '[{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]',
        r"row 5: message 2 has role 'bot'; roles are system, user, assistant, tool",
    ),
    "a text": ('"hello"', r"row 5: no message is the assistant's"),
    "a number": (
        '[{"role": "user", "content": 3}, {"role": "assistant", "content": "b"}]',
        r"row 5: message 1, of the user, has no text",
    ),
    "an empty answer": (
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]',
        r"row 5: message 2, of the assistant, has no text",
    ),
    "nobody asks": (
        '[{"role": "assistant", "content": "a"}]',
        r"row 5: the assistant speaks first, to nobody",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_is_no_conversation_is_named(bad, files, models, tmp_path):
    row, said = BAD[bad]
    lines = files["talks"].read_text().splitlines()
    lines[5] = f'{{"messages": {row}, "source": "here"}}'
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    recipe = recipe_of(models("llama", tiny.CHATML), tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=said):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_line_cut_in_half_is_named(files, models, tmp_path):
    lines = files["talks"].read_text().splitlines()
    lines[5] = lines[5][: len(lines[5]) // 2]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 6 is not JSON"):
        finetune(recipe_of(models("llama", tiny.CHATML), tmp_path / "rows.jsonl"), tmp_path / "run")


def test_a_row_of_a_million_characters_is_measured_whole(models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    rows = [*tiny.SENTENCES * 4, " ".join(tiny.SENTENCES * 4600)]
    assert len(rows[-1]) > 1_000_000
    for name, part in (("train", rows[:-1]), ("validation", rows[:3]), ("test", rows[-1:])):
        (tmp_path / f"{name}.txt").write_text("\n".join(part))
    recipe = recipe_of(models("gpt2"), tmp_path / "*.txt").override({"train.max_steps": 1})
    result = finetune(recipe, tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert result.n == 1
    assert table["tokens"] == [len(tokenizer(rows[-1], verbose=False)["input_ids"])]
    assert len(table["text"][0]) < 1100
