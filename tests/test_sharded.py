"""A model shared among processes: what it learns, its checkpoints and its files are as without."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from safetensors.numpy import load_file

from ftkit.training.sharded import name_layers

ROOT = Path(__file__).resolve().parent.parent


def equality():
    """Return scripts/equality.py, which knows how FSDP2 runs on a CPU."""
    spec = importlib.util.spec_from_file_location("equality", ROOT / "scripts" / "equality.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["equality"] = module
    spec.loader.exec_module(module)
    return module


def run(folder, script, processes, *words):
    """Train in a process of its own for each part of the model; return what was said."""
    command = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    done = subprocess.run(
        warm.python(*command, str(script), *map(str, words)),
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def losses(out):
    """Return every loss in log.jsonl."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [e.get("loss", e.get("validation_loss")) for e in entries]


SEEN = """
from torch.distributed.tensor import DTensor
import ftkit.training.resuming

def seen(model, shared, real=ftkit.training.resuming.make_whole):
    parts = [parameter for parameter in shared.parameters() if isinstance(parameter, DTensor)]
    every = list(shared.parameters())
    print(f"{len(parts)} of {len(every)} parameters are shared", file=sys.stderr)
    real(model, shared)

ftkit.training.resuming.make_whole = seen
"""


def test_a_shared_model_is_trained_as_a_whole_one_is(tiny_recipe, checkpoint, tmp_path):
    config = Path(checkpoint("vit")) / "config.json"
    backbone = tmp_path / "vit"
    backbone.mkdir()
    for file in config.parent.iterdir():
        (backbone / file.name).write_bytes(file.read_bytes())
    (backbone / "config.json").write_text(
        json.dumps(json.loads(config.read_text()) | {"hidden_dropout_prob": 0.0})
    )
    recipe = tiny_recipe.override({"backbone.id": str(backbone), "data.validation_fraction": 0.35})
    (tmp_path / "mine.json").write_text(recipe.to_json())
    (tmp_path / "shared.py").write_text(
        equality().ON_CPU.replace("from ftkit.cli", SEEN + "from ftkit.cli")
    )
    words = ("--recipe", "mine.json", "--epochs", "2")
    said = run(tmp_path, "shared.py", 2, *words, "--out", "shared")
    (parts, every), *_ = re.findall(r"(\d+) of (\d+) parameters are shared", said)
    assert parts == every
    run(tmp_path, ROOT / "scripts" / "finetune.py", 1, *words, "--out", "whole")
    shared, whole = tmp_path / "shared", tmp_path / "whole"
    assert losses(shared) == pytest.approx(losses(whole), rel=1e-5)
    one, two = (load_file(out / "model" / "model.safetensors") for out in (whole, shared))
    assert one.keys() == two.keys()
    assert all(one[name] == pytest.approx(two[name], abs=1e-5) for name in one)


@pytest.mark.parametrize(
    ("family", "layers"),
    [("bert", "BertLayer"), ("vit", "ViTLayer"), ("timm-resnet", "TimmWrapper")],
)
def test_layers_are_named_without_embeddings(family, layers, checkpoint, monkeypatch):
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    monkeypatch.delenv("FSDP_TRANSFORMER_CLS_TO_WRAP", raising=False)
    kind = (
        AutoModelForSequenceClassification if family == "bert" else AutoModelForImageClassification
    )
    name_layers(kind.from_pretrained(checkpoint(family)))
    named = os.environ.pop("FSDP_TRANSFORMER_CLS_TO_WRAP")
    assert named.startswith(layers)
    assert "Embeddings" not in named
