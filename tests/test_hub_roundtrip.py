"""There and back: what was published is what was measured, and a start for the next fine-tuning.

The recipes run with their real ids, which the tests' Hub serves: a tiny ViT of the same
architecture, and 200 rows of CIFAR-10.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import HUB
from hub_server import OWNER
from huggingface_hub import ModelCard, constants, parse_eval_result_entries

from ftkit import Recipe, RunResult
from ftkit.cli.main import main
from ftkit.data.open_images import open_rgb
from ftkit.registry import find
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

VIT, CIFAR = find("vit-cifar").backbone, find("vit-cifar").data
BASE_CARD = "---\nlicense: cc-by-nc-4.0\n---\n# ViT\n"
DATA_CARD = """---
license: unknown
configs:
- config_name: plain_text
  data_files:
  - {split: train, path: plain_text/train-*}
  - {split: test, path: plain_text/test-*}
  default: true
---
"""
TRANSPORTS = ("lfs", "xet")
RUNS = {"digits": {"how": "by_timm"}, "vit": {"how": "by_adapter", "base": VIT.id}}


def serve_vit_and_cifar(shared_data: Path, folder: Path) -> None:
    """Add the two repositories that vit-cifar names, at the commits that it names."""
    checkpoints.make("vit", folder)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    HUB.add(VIT.id, {**files, "README.md": BASE_CARD.encode()}, commit=VIT.revision)
    tables = {"README.md": DATA_CARD.encode()}
    for split, rows in (("train", 150), ("test", 50)):
        table = pq.read_table(shared_data / "cifar10" / f"{split}.parquet").slice(0, rows)
        pq.write_table(table, buffer := io.BytesIO())
        tables[f"plain_text/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    HUB.add(CIFAR.path, tables, kind="datasets", commit=CIFAR.revision)


def images_of(run: Path, folder: Path, count: int) -> list[str]:
    """Write the first test images of a run and return their files."""
    recipe = Recipe.from_json((run / "recipe.json").read_text())
    rows = load_splits(recipe.data, task_of(recipe.task)).test
    folder.mkdir(exist_ok=True)
    for number in range(count):
        open_rgb(rows[number]["image"]).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory, shared_data):
    """Two published runs, each over both transports, and what a fresh process got from them."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("world")
        HUB.reset()
        patch.chdir(root)
        patch.setenv("HF_TOKEN", OWNER)
        patch.setattr(constants, "HF_HUB_CACHE", str(root / "cache"))
        serve_vit_and_cifar(shared_data, tmp_path_factory.mktemp("vit"))
        digits = "train effnet-digits --smoke --strategy head --out digits"
        vit = "train vit-cifar --smoke --strategy lora --out vit --batch-size 16"
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        assert main([*digits.split(), "--push-to-hub", "alice/digits-lfs"]) == 0
        assert main([*vit.split(), "--push-to-hub", "alice/vit-lfs", "--private"]) == 0
        patch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        assert main(["push", "digits", "alice/digits-xet"]) == 0
        assert main(["push", "vit", "alice/vit-xet"]) == 0
        orders = []
        for run, last in RUNS.items():
            images = images_of(root / run, root / f"{run}-images", 4)
            for transport in TRANSPORTS:
                about = {
                    "transport": transport,
                    "images": images,
                    "model": f"alice/{run}-{transport}",
                }
                orders += [about | {"how": how} for how in ("by_pipeline", "by_auto_model")]
                orders += [about | last]
        (root / "orders.json").write_text(json.dumps(orders))
        script = Path(__file__).with_name("download.py")
        done = subprocess.run(
            [sys.executable, script, "orders.json", "answers.json"],
            env=os.environ | {"HF_HOME": str(root / "fresh")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answers = json.loads((root / "answers.json").read_text())
        found = {
            (order["model"], order["how"]): answer
            for order, answer in zip(orders, answers, strict=True)
        }
        yield root, found


CASES = [
    (run, transport, how)
    for run, last in RUNS.items()
    for transport in TRANSPORTS
    for how in ("by_pipeline", "by_auto_model", last["how"])
]


@pytest.mark.parametrize(("run", "transport", "how"), CASES)
def test_a_fresh_process_gets_the_measured_predictions(world, run, transport, how):
    root, found = world
    table = pq.read_table(root / run / "predictions.parquet")
    names = json.loads(table.schema.metadata[b"label_names"])
    expected = np.array(table["probability"].to_pylist()[:4])
    answers = found[f"alice/{run}-{transport}", how]
    if how == "by_pipeline":
        answers = [[answer[name] for name in names] for answer in answers]
    assert np.abs(np.array(answers) - expected).max() < 1e-4


def test_large_files_travelled_as_asked(world):
    assert HUB.count("POST /cas/v1/xorbs") >= 2
    assert HUB.count("PUT /lfs/") >= 2
    elsewhere = [seen for seen in HUB.log if seen.path.startswith(("/lfs/", "/cas/xorbs"))]
    assert not [seen for seen in elsewhere if seen.authorised]  # hosts that must not see the token


def test_the_run_says_which_commits_it_stood_on(world):
    root, _ = world
    recipe = Recipe.from_json((root / "vit" / "recipe.json").read_text())
    assert (recipe.backbone.revision, recipe.data.revision) == (VIT.revision, CIFAR.revision)
    adapter = json.loads((root / "vit" / "model" / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == VIT.id
    assert adapter["revision"] == VIT.revision


def test_the_card_has_results_lineage_and_licence(world):
    root, _ = world
    files, result = HUB.files("alice/vit-xet"), RunResult.read(root / "vit")
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == VIT.id
    assert card.data.base_model_relation == "finetune"
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.datasets == [CIFAR.path]
    figures = {figure.metric_type: figure.metric_value for figure in card.data.eval_results}
    assert figures == pytest.approx({n: f.value for n, f in result.metrics.items()}, abs=1e-6)
    assert card.data.eval_results[0].dataset_revision == CIFAR.revision
    assert "may not be used commercially" in " ".join(card.text.split())
    assert 'model="alice/vit-xet"' in card.text
    assert "train 64, validation 7, test 50" in card.text
    for link in ("plots/confusion_matrix.png", "plots/learning_curve.png"):
        assert f"({link})" in card.text
        assert files[link].startswith(b"\x89PNG")


def test_results_are_listed_under_their_data_set(world):
    root, _ = world
    text = HUB.files("alice/vit-xet")[".eval_results/uoft-cs--cifar10.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.dataset_revision) == (CIFAR.path, CIFAR.revision)
    accuracy = RunResult.read(root / "vit").metrics["accuracy"].value
    assert entry.value == pytest.approx(accuracy, abs=1e-6)
    assert not [path for path in HUB.files("alice/digits-xet") if path.startswith(".eval")]


def test_an_adapter_of_an_embedded_backbone_is_not_published_by_halves(world):
    assert "adapter/adapter_config.json" in HUB.files("alice/vit-xet")
    assert not [path for path in HUB.files("alice/digits-xet") if path.startswith("adapter")]


def test_what_was_published_is_the_backbone_of_the_next_run(world, monkeypatch, capsys):
    root, _ = world
    monkeypatch.chdir(root)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert main(["check", "alice/vit-lfs", "--backbone", "alice/vit-xet"]) == 0
    assert "strategy lora" in capsys.readouterr().out


def test_a_published_recipe_runs_again_to_the_same_weights(world, monkeypatch):
    root, _ = world
    monkeypatch.chdir(root)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert main(["train", "alice/vit-lfs", "--out", "again"]) == 0
    first, again = (RunResult.read(root / run) for run in ("vit", "again"))
    assert again.metrics == first.metrics
    assert again.model_sha256 == first.model_sha256
    assert (root / "again" / "recipe.json").read_text() == (root / "vit/recipe.json").read_text()
