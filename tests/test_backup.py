"""Checkpoints on the Hub: the newest on a branch, and training goes on where the Hub does not."""

import shutil

import pytest
from conftest import leave_unverified
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

import ftkit.training.perceptron_state
from ftkit import Data, Full, Mlp, Recipe, TabularClassification, Train, finetune
from ftkit.cli.main import main


@pytest.fixture
def perceptron(tmp_path):
    lines = ["a,b,label", *(f"{n % 7},{n % 5},{'xy'[n % 2]}" for n in range(60))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return Recipe(
        name="mlp-rows",
        data=Data(path=str(tmp_path / "rows.csv")),
        backbone=Mlp(hidden=(8,), dropout=0.1),
        task=TabularClassification(),
        strategy=Full(learning_rate=1e-2),
        train=Train(epochs=3, batch_size=8, push_checkpoints="alice/rows"),
    )


def test_every_epoch_leaves_its_checkpoint_on_the_branch(tiny_recipe, hub, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    finetune(tiny_recipe.override({"train.push_checkpoints": "alice/tiny"}), tmp_path / "run")
    there = {file.path for file in _list(hub, "alice/tiny")}
    steps = {path.split("/")[0] for path in there if path.startswith("checkpoint-")}
    assert len(steps) == 1  # the newest alone
    assert any(path.endswith("trainer_state.json") for path in there)
    assert not [path for path in hub.files("alice/tiny") if "checkpoint" in path]  # main is free


def _list(hub, name):
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi(endpoint=hub.url).list_repo_tree(name, revision="checkpoints", recursive=True)
    return [entry for entry in tree if isinstance(entry, RepoFile)]


def test_another_machine_goes_on_from_the_branch(perceptron, hub, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    finetune(perceptron, tmp_path / "whole")
    write = ftkit.training.perceptron_state.push_checkpoint

    def stop(file, repo_id):
        write(file, repo_id)
        if ftkit.training.perceptron_state.read_state(file).epochs == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ftkit.training.perceptron_state, "push_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(perceptron, tmp_path / "taken")
    monkeypatch.setattr(ftkit.training.perceptron_state, "push_checkpoint", write)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "taken" / "recipe.json", tmp_path / "other")
    snapshot_download(
        "alice/rows", revision="checkpoints", local_dir=tmp_path / "other" / "checkpoints"
    )
    finetune(perceptron, tmp_path / "other", resume=True)
    whole, other = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "other")
    )
    assert all(whole[name].equal(other[name]) for name in whole)


def test_a_hub_that_is_gone_does_not_stop_training(perceptron, hub, tmp_path, monkeypatch, caplog):
    leave_unverified(monkeypatch)
    with hub.down(), caplog.at_level("INFO", logger="ftkit"):
        finetune(perceptron, tmp_path / "run")
    assert caplog.text.count("checkpoint not pushed") == 3
    assert (tmp_path / "run" / "run.json").exists()


def test_a_repository_that_may_not_be_written_is_told_before_training(
    perceptron, hub, tmp_path, capsys
):
    (tmp_path / "mine.json").write_text(perceptron.to_json())
    words = ["train", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run")]
    assert main([*words, "--push-checkpoints", "somebody/rows"]) == 2
    assert "somebody/rows" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
