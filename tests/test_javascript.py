"""What transformers.js loads of an export, and that it answers in Node as the run did."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from fruit_texts import make_rows, recipe_for, write
from node import ask, require
from PIL import Image

from ftkit import finetune
from ftkit.exported.about import KEY, About
from ftkit.exported.model import open_export
from ftkit.registry import find
from ftkit.runs.finished import read_recipe
from ftkit.shipping import javascript
from ftkit.shipping.export import export
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

CLOSE = 1e-5
"""Kernels of ONNX Runtime for Node add in another order than those of PyTorch."""


def stored(run):
    """Of each test row what predictions.parquet says: {class: probability}."""
    names = json.loads((run / "model" / "config.json").read_text())["id2label"].values()
    rows = pd.read_parquet(run / "predictions.parquet")["probability"]
    return [dict(zip(names, row, strict=True)) for row in rows]


def rows_of(run):
    recipe = read_recipe(run)
    return load_splits(recipe.data, task_of(recipe.task)).test


def apart(first, second):
    """The largest difference of a probability."""
    assert len(first) == len(second)
    pairs = list(zip(first, second, strict=True))
    assert all(one.keys() == two.keys() for one, two in pairs)
    return max(abs(one[name] - two[name]) for one, two in pairs for name in one)


@pytest.fixture(scope="module")
def vit(finished_run, tmp_path_factory):
    return export(finished_run, tmp_path_factory.mktemp("javascript") / "vit").folder


def test_the_models_that_transformers_js_knows_are_those_of_its_package():
    package = require("@huggingface/transformers") / "@huggingface/transformers"
    if json.loads((package / "package.json").read_text())["version"] != javascript.VERSION:
        pytest.skip(f"the table is of @huggingface/transformers {javascript.VERSION}")
    text = (package / "src/models/registry.js").read_text()
    kinds = {"images": "IMAGE", "text": "SEQUENCE", "words": "TOKEN"}
    for noun, kind in kinds.items():
        names = rf"const MODEL_FOR_{kind}_CLASSIFICATION_MAPPING_NAMES = new Map\(\[(.*?)\]\);"
        found = re.search(names, text, re.DOTALL)
        assert javascript.BY_TASK[noun] == set(re.findall(r"\['([^']+)'", found[1]))


def test_a_vit_answers_in_node_as_its_run_did(finished_run, vit):
    files = [row["image"]["path"] for row in rows_of(finished_run)]
    assert apart(ask(vit, "image-classification", files), stored(finished_run)) < CLOSE


def test_a_photo_larger_than_the_model_reads_is_resized_in_node_as_in_training(vit, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    file = tmp_path / "noise.png"
    Image.fromarray(levels).save(file)
    exported = open_export(vit)
    answer = exported.answer([str(file)]).scores[0]
    wanted = [dict(zip(exported.about.classes, answer.tolist(), strict=True))]
    assert apart(ask(vit, "image-classification", [str(file)]), wanted) < CLOSE


def test_the_graph_of_levels_is_the_exported_file_with_another_input(vit):
    levels = np.random.default_rng(0).integers(0, 256, (1, 70, 50, 3), dtype=np.uint8)
    answers = []
    for name, given in (
        ("model.onnx", {"image": levels}),
        ("onnx/model.onnx", {"pixel_values": levels.transpose(0, 3, 1, 2).astype(np.float32)}),
    ):
        session = onnxruntime.InferenceSession(vit / name)
        answers.append(session.run(["logits", "probabilities"], given))
        metadata = session.get_modelmeta().custom_metadata_map
        assert About.from_json(metadata[KEY], name).classes == ("blue", "green", "red")
    assert all((one == two).all() for one, two in zip(*answers, strict=True))


def test_of_texts_the_file_is_written_once_and_answers_as_the_run_did(checkpoint, tmp_path):
    recipe = recipe_for(write(tmp_path, make_rows()), checkpoint("bert"))
    finetune(recipe, tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "export").folder
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == {
        *("onnx/model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"),
        *("export.json", "recipe.json"),
    }
    texts = rows_of(tmp_path / "run")["text"][:]
    assert apart(ask(folder, "text-classification", texts), stored(tmp_path / "run")) < CLOSE
    by_file = open_export(folder / "onnx" / "model.onnx").answer(texts).scores
    assert (by_file == open_export(folder).answer(texts).scores).all()


def test_the_embedded_minilm_answers_in_node_as_its_run_did(tmp_path, unverified):
    small = {"data.train_rows": 64, "data.validation_rows": 40, "data.test_rows": 24}
    recipe = find("minilm-langid").override({**small, "train.epochs": 1})
    finetune(recipe, tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "export").folder
    texts = rows_of(tmp_path / "run")["text"][:]
    found = ask(folder, "text-classification", texts)
    assert apart(found, stored(tmp_path / "run")) < CLOSE


def test_a_model_that_transformers_js_does_not_know_is_one_file(tiny_recipe, checkpoint, tmp_path):
    recipe = tiny_recipe.override({"backbone.id": str(checkpoint("timm-resnet"))})
    finetune(recipe, tmp_path / "run")
    folder = export(tmp_path / "run").folder
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "export.json", "recipe.json"}


def test_a_renamed_value_is_renamed_in_branches_too(vit):
    model = onnx.load(vit / "onnx" / "model.onnx")
    assert [one.name for one in model.graph.input] == ["pixel_values"]
    readers = [node for node in model.graph.node if "pixel_values" in node.input]
    assert [node.op_type for node in readers] == ["Transpose"]
