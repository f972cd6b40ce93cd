"""Publishing: what a repository holds afterwards. tests/test_hub_faults.py has what goes wrong."""

import shutil

import numpy as np
import pytest
from hub_server import OWNER
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from PIL import Image

from ftkit import (
    Data,
    HubError,
    Lora,
    Mlp,
    Recipe,
    RunError,
    Train,
    finetune,
    load_perceptron,
    publish,
)
from ftkit.cli.main import main
from ftkit.publishing.push import claim_repository


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def test_a_repository_holds_the_model_its_record_and_its_pictures(run, hub):
    assert publish(run, "alice/colours") == f"{hub.url}/alice/colours"
    assert set(hub.files("alice/colours")) == {
        *("README.md", "config.json", "model.safetensors", "preprocessor_config.json"),
        *("recipe.json", "run.json", "plots/confusion_matrix.png", "plots/learning_curve.png"),
        ".gitattributes",
    }


def test_nothing_published_tells_a_folder_of_this_machine(run, hub, tmp_path_factory):
    publish(run, "alice/colours")
    root = str(tmp_path_factory.getbasetemp()).encode()
    assert not [path for path, text in hub.files("alice/colours").items() if root in text]


def test_the_card_uses_the_repository_and_the_folder_keeps_its_own(run, hub):
    before = (run / "model" / "README.md").read_text()
    publish(run, "alice/colours")
    text = hub.files("alice/colours")["README.md"].decode()
    assert 'model="alice/colours"' in text
    assert "PATH_OR_REPO" not in text
    assert "PATH_OR_REPO" in before
    assert (run / "model" / "README.md").read_text() == before
    assert ModelCard(text).data.eval_results[0].dataset_name == "colours0"


def test_the_same_again_is_no_commit(run, hub):
    assert publish(run, "colours") == publish(run, "alice/colours")
    title, first = hub["alice/colours"].titles
    assert title.startswith("tiny-colours, full: accuracy 0.")
    assert first == "initial commit"


def test_files_of_an_earlier_model_go_and_other_files_stay(run, hub):
    earlier = {"adapter_model.safetensors": b"x", "adapter/adapter_config.json": b"{}"}
    hub.add("alice/colours", {**earlier, "LICENSE": b"mine", "notes/a.md": b"mine"})
    publish(run, "alice/colours")
    files = hub.files("alice/colours")
    assert not earlier.keys() & files.keys()
    assert files["LICENSE"] == files["notes/a.md"] == b"mine"


def test_the_card_holds_it_against_a_baseline_on_the_same_rows(run, class_folders, hub, tmp_path):
    recipe = Recipe(
        name="mlp-colours",
        data=Data(path=str(class_folders)),
        backbone=Mlp(hidden=(8,), image_size=8),
        train=Train(epochs=1, batch_size=16),
    )
    baseline = finetune(recipe, tmp_path / "baseline")
    publish(run, "alice/colours", baseline=tmp_path / "baseline")
    text = hub.files("alice/colours")["README.md"].decode()
    assert "## Beside a baseline" in text
    assert f"| mlp-colours, full | {baseline.metrics['accuracy'].value:.4f} |" in text
    assert text.index("## Beside a baseline") < text.index("## Training")
    assert "Beside a baseline" not in (run / "model" / "README.md").read_text()
    finetune(recipe.override({"data.test_rows": 5}), tmp_path / "other")
    with pytest.raises(RunError, match="give a run on the same rows"):
        publish(run, "alice/colours", baseline=tmp_path / "other")


def test_a_branch_leaves_main_as_it_was(run, hub):
    address = publish(run, "alice/colours", revision="trial/1")
    assert address == f"{hub.url}/alice/colours/tree/trial/1"
    publish(run, "alice/colours", revision="trial/1")
    assert hub["alice/colours"].titles == ["initial commit"]
    assert "model.safetensors" in hub.files("alice/colours", "trial/1")
    assert len(hub["alice/colours"].find("trial/1").history()) == 2


def test_private_makes_it_so(run, hub):
    publish(run, "alice/colours", private=True)
    assert hub["alice/colours"].private


def test_an_adapter_alone_needs_a_backbone_that_others_have(tiny_recipe, hub, tmp_path):
    finetune(tiny_recipe.override({"strategy": Lora(merge=False)}), tmp_path / "adapter")
    with pytest.raises(RunError, match=r"an adapter alone.*strategy\.merge=true"):
        publish(tmp_path / "adapter", "alice/colours")
    assert hub["alice/colours"].titles == ["initial commit"]


def test_a_perceptron_is_published_and_loads_by_its_name(class_folders, hub, tmp_path):
    recipe = Recipe(
        name="mlp-colours",
        data=Data(path=str(class_folders)),
        backbone=Mlp(hidden=(8,)),
        train=Train(epochs=1, batch_size=16),
    )
    finetune(recipe, tmp_path / "run")
    publish(tmp_path / "run", "alice/mlp")
    images = [Image.open(file) for file in sorted(class_folders.rglob("*.png"))[:5]]
    here, there = (load_perceptron(x) for x in (tmp_path / "run" / "model", "alice/mlp"))
    assert np.array_equal(here.predict_proba(images), there.predict_proba(images))
    card = ModelCard(hub.files("alice/mlp")["README.md"].decode())
    assert card.data.library_name == "ftkit"
    assert 'load_perceptron("alice/mlp")' in card.text


def test_a_card_that_the_hub_refuses_is_told_before_training(hub, tiny_recipe):
    hub.fault("POST /api/validate-yaml", "status", code=400)
    with pytest.raises(HubError, match="model card is not valid"):
        claim_repository("alice/colours", recipe=tiny_recipe)


def test_rights_are_checked_before_training(hub, tiny_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    (tmp_path / "mine.json").write_text(tiny_recipe.to_json())
    words = ["train", str(tmp_path / "mine.json"), "--out", str(tmp_path / "out")]
    assert main([*words, "--push-to-hub", "bob/his"]) == 2
    assert "no right to write to it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("me/my model", "me/my-model"),
        ("me/x--y", "me/x-y"),
        ("a/b/c", "b/c"),
        ("me/", "me/model"),
        ("me/x.git", "me/x"),
        ("x" * 200, "x" * 48),
    ],
)
def test_a_name_that_no_repository_can_have_is_refused_with_one_that_can(run, name, near):
    for refused in (publish, lambda run, name: claim_repository(name)):
        with pytest.raises(HubError, match=f"expected OWNER/NAME .*; '{near}' would do"):
            refused(run, name)
    with pytest.raises(HubError) as caught:
        publish(run, name)
    assert "ftkit push" not in str(caught.value)  # which would be refused again
    validate_repo_id(near)
