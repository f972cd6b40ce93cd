"""Perceptrons that go on: from saved weights, by the last layer alone, after a stop."""

import json
from pathlib import Path

import pytest
from perceptrons import weights

import ftkit.finetuning.finetune
import ftkit.training.perceptron_fit
import ftkit.training.perceptron_state
from ftkit import (
    FineTune,
    HeadOnly,
    ModelError,
    finetune,
    load_perceptron,
    registry,
)
from ftkit.finetuning.verify import Verified


def test_interrupted_and_resumed_is_bit_equal_to_uninterrupted(
    colours, tmp_path, monkeypatch, unverified
):
    recipe = colours.override({"backbone.fine_tune": FineTune(epochs=2), "train.epochs": 3})
    finetune(recipe, tmp_path / "whole")
    monkeypatch.setattr(ftkit.training.perceptron_fit, "LEAST_SECONDS", 0)
    write = ftkit.training.perceptron_state.write_state
    for stop_at in (2, 4):  # in the training, and in the fine-tuning

        def stop(checkpoint, state, buffers, kept, stop_at=stop_at):
            write(checkpoint, state, buffers, kept)
            if state.epochs == stop_at:
                raise KeyboardInterrupt

        monkeypatch.setattr(ftkit.training.perceptron_state, "write_state", stop)
        run = tmp_path / f"stopped{stop_at}"
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, run)
        monkeypatch.setattr(ftkit.training.perceptron_state, "write_state", write)
        with (run / "log.jsonl").open("a") as lines:
            lines.write('{"step": 99, "los')  # a kill in the middle of a line
        finetune(recipe, run, resume=True)
        whole, resumed = weights(tmp_path / "whole"), weights(run)
        assert all(whole[name].equal(resumed[name]) for name in whole)

        def losses(folder):
            entries = [json.loads(line) for line in (folder / "log.jsonl").open()]
            return [entry.get("loss", entry.get("validation_loss")) for entry in entries]

        assert losses(run) == losses(tmp_path / "whole")


def test_head_only_moves_the_last_layer_alone(colours, tmp_path, unverified):
    short = colours.override({"train.epochs": 1})
    result = finetune(short, tmp_path / "body")
    start = short.override({"backbone.start": str(tmp_path / "body" / "model")})
    frozen = finetune(start.override({"strategy": HeadOnly(learning_rate=1e-2)}), tmp_path / "head")
    before, after = weights(tmp_path / "body"), weights(tmp_path / "head")
    assert {name for name in before if not before[name].equal(after[name])} == {
        "layers.2.weight",
        "layers.2.bias",
    }
    assert frozen.parameters_trained == 9 * 3
    assert frozen.parameters_total == result.parameters_total


def test_other_classes_get_a_fresh_last_layer_on_the_trained_body(colours, tmp_path, unverified):
    finetune(colours, tmp_path / "body")
    other = tmp_path / "warm"
    for name in ("red", "green"):
        (other / name.upper()).mkdir(parents=True)
        for file in sorted((Path(colours.data.path) / name).iterdir()):
            (other / name.upper() / file.name).write_bytes(file.read_bytes())
    recipe = colours.override(
        {
            "data.path": str(other),
            "backbone.start": str(tmp_path / "body" / "model"),
            "strategy": HeadOnly(learning_rate=0.1),
            "train.epochs": 20,
        }
    )
    result = finetune(recipe, tmp_path / "run")
    before, after = weights(tmp_path / "body"), weights(tmp_path / "run")
    assert before["layers.0.weight"].equal(after["layers.0.weight"])
    assert after["layers.2.weight"].shape == (8, 2)
    assert result.metrics["accuracy"].value > 0.9


def test_going_on_reads_inputs_as_the_first_training_did(flowers, tmp_path, unverified):
    finetune(flowers, tmp_path / "first")
    lines = Path(flowers.data.path).read_text().splitlines()
    moved = [f"{float(a) + 3:.3f},{b},{kind}" for a, b, kind in (x.split(",") for x in lines[1:])]
    (tmp_path / "moved.csv").write_text("\n".join([lines[0], *moved]) + "\n")
    changes = {
        "data.path": str(tmp_path / "moved.csv"),
        "backbone.start": str(tmp_path / "first"),  # a run, or its model/
        "train.epochs": 1,
    }
    finetune(flowers.override(changes), tmp_path / "second")
    first, second = (load_perceptron(tmp_path / name) for name in ("first", "second"))
    assert first.encoder == second.encoder
    other = registry.find("mlp-text").override({"backbone.start": str(tmp_path / "first")})
    with pytest.raises(ModelError, match="it reads columns, this task gives ngrams"):
        finetune(other.override({"data.train_rows": 100}), tmp_path / "third")


def test_a_start_that_training_makes_worse_is_kept(tmp_path, unverified):
    digits = registry.find("mlp-digits").override({"data.train_rows": 300})
    first = finetune(digits.override({"train.epochs": 5}), tmp_path / "first")
    spoiling = {
        "backbone.start": str(tmp_path / "first" / "model"),
        "train.epochs": 2,
        "strategy.learning_rate": 1.0,
    }
    second = finetune(digits.override(spoiling), tmp_path / "second")
    assert first.metrics["accuracy"].value > 0.6
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(before[name].equal(after[name]) for name in before)
    assert second.metrics["accuracy"].value == first.metrics["accuracy"].value


# accuracy and loss of each epoch; how many epochs a patience of 3 leaves
CREEPING = [(0.5, 1 - 1e-6 * number) for number in range(10)]
FIRST = [(0.9, 1.0), (0.5, 0.9), (0.9, 1.0), (0.8, 0.5)]
SECOND = [(0.5, 1.0), (0.6, 1.0), (0.7, 1.0), (0.7, 0.9), (0.6, 0.1), (0.7, 0.9), (0.7, 0.9)]


@pytest.mark.parametrize(
    ("figures", "again", "epochs"),
    [(CREEPING, None, 4), ([*FIRST, *SECOND, *SECOND], FineTune(epochs=10), 4 + 7)],
)
def test_early_stopping_counts_as_that_of_other_models_each_stage_anew(
    flowers, tmp_path, monkeypatch, unverified, figures, again, epochs
):
    coming = iter(figures)

    def score(*_):
        accuracy, loss = next(coming)
        return {"accuracy": accuracy, "loss": loss}

    monkeypatch.setattr("ftkit.tasks.base.score_logits", score)
    wish = {"train.epochs": 10, "train.early_stopping": 3, "backbone.fine_tune": again}
    finetune(flowers.override(wish), tmp_path / "run")
    assert (tmp_path / "run" / "log.jsonl").read_text().count("validation_loss") == epochs


def test_a_stage_that_stopped_early_stays_stopped_when_resumed(flowers, tmp_path, monkeypatch):
    monkeypatch.setattr(ftkit.finetuning.finetune, "verify", lambda *_: Verified(0, None))
    rough = {
        "train.schedule": "constant",
        "strategy.learning_rate": 0.3,
    }  # its loss goes up and down
    recipe = flowers.override({"train.epochs": 200, "train.early_stopping": 1, **rough})
    finetune(recipe, tmp_path / "whole")
    monkeypatch.setattr(ftkit.training.perceptron_fit, "LEAST_SECONDS", 0)
    write = ftkit.training.perceptron_state.write_state

    def stop(checkpoint, state, buffers, kept):
        write(checkpoint, state, buffers, kept)
        if state.waited == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ftkit.training.perceptron_state, "write_state", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, tmp_path / "stopped")
    monkeypatch.setattr(ftkit.training.perceptron_state, "write_state", write)
    finetune(recipe, tmp_path / "stopped", resume=True)
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(whole[name].equal(stopped[name]) for name in whole)
    epochs = (tmp_path / "stopped" / "log.jsonl").read_text().count("validation_loss")
    assert epochs == (tmp_path / "whole" / "log.jsonl").read_text().count("validation_loss") < 200
