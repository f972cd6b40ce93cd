"""What comes from the Hub: pinned, whole, and without code that was not asked for."""

import io
import os
import pickle

import language_checkpoints
import pytest
import torch
from safetensors.torch import load
from transformers import AutoTokenizer

from ftkit import Backbone, Data, ImageClassification, ModelError, Recipe
from ftkit.backbones.pretrained import load_model
from ftkit.hub.download import fetch
from ftkit.hub.names import is_hub_id
from ftkit.runs.pinning import licences, pin, shareable
from ftkit.tasks import task_of

IMAGES = task_of(ImageClassification())

NAMES = ("blue", "red")


def served(hub, folder, name="alice/tiny", **more):
    """Put a folder's files on the Hub, and others."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return hub.add(name, files | more)


def test_a_recipe_is_pinned_to_the_commits_of_now(hub, checkpoint):
    model = served(hub, checkpoint("vit"))
    data = hub.add("alice/colours", {"README.md": b"rows"}, kind="datasets")
    backbone = Backbone(id="alice/tiny", revision="main")
    recipe = Recipe(name="x", data=Data(path="alice/colours"), backbone=backbone)
    pinned = pin(recipe)
    assert pinned.backbone.revision == model.head.oid
    assert pinned.data.revision == data.head.oid
    model.commit("main", "later", {})
    assert pin(pinned) == pinned
    assert pin(recipe) != pinned


def test_what_is_not_on_the_hub_is_not_pinned(hub, tiny_recipe):
    embedded = tiny_recipe.override({"backbone.id": "embedded:x", "data.path": "embedded:y"})
    for recipe in (tiny_recipe, embedded):
        assert pin(recipe) == recipe
    assert hub.log == []


@pytest.mark.parametrize("name", ["embedded:digits", "./photos", "/photos", "~/x", "rows.csv"])
def test_paths_are_no_hub_ids(name):
    assert not is_hub_id(name)


def test_a_pinned_backbone_in_the_cache_is_not_asked_for_again(hub, checkpoint):
    backbone = Backbone(id="alice/tiny", revision=served(hub, checkpoint("vit")).head.oid)
    fetch(backbone.id, backbone.revision)
    hub.log.clear()
    with hub.down():
        fetch(backbone.id, backbone.revision)
    assert hub.log == []


def test_only_what_is_needed_is_fetched(hub, checkpoint):
    extra = {"modeling.py": b"evil()", "tf_model.h5": b"x", "pytorch_model.bin": b"x"}
    served(hub, checkpoint("vit"), **extra, **{"onnx/model.safetensors": b"x"})
    names = {path.name for path in fetch("alice/tiny").rglob("*")}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}


@pytest.mark.parametrize("family", ["marian", "nllb", "chat"])
def test_a_tokenizer_is_fetched_whole(family, hub, checkpoint, tmp_path):
    make = language_checkpoints.make
    chat = family == "chat"
    folder = make("llama", tmp_path, language_checkpoints.CHATML) if chat else checkpoint(family)
    served(hub, folder)
    here, there = (AutoTokenizer.from_pretrained(at) for at in (folder, fetch("alice/tiny")))
    assert there("a red hat")["input_ids"] == here("a red hat")["input_ids"]
    assert there.chat_template == here.chat_template
    assert chat == (here.chat_template is not None)


def test_a_backbone_of_the_hub_keeps_its_name(hub, checkpoint):
    served(hub, checkpoint("vit"))
    model, _ = load_model(Backbone(id="alice/tiny"), NAMES, seed=0, task=IMAGES)
    assert model.name_or_path == "alice/tiny"


class Evil:
    """A pickle that makes a folder when it is loaded by `pickle` as it is."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_malicious_pickle_is_refused_and_never_run(hub, checkpoint, tmp_path):
    target = str(tmp_path / "owned")
    evil = pickle.dumps(Evil(target))
    pickle.loads(evil)
    os.rmdir(target)  # it does what it is meant to
    files = {file.name: file.read_bytes() for file in checkpoint("vit").iterdir()}
    del files["model.safetensors"]
    hub.add("alice/evil", files | {"pytorch_model.bin": evil})
    with pytest.raises(ModelError, match=r"no safetensors.*can run code.*allow_pickle=true"):
        load_model(Backbone(id="alice/evil"), NAMES, seed=0, task=IMAGES)
    assert not hub.count("HEAD .*pytorch_model.bin")
    with pytest.raises(ModelError, match="backbone 'alice/evil' cannot be loaded"):
        load_model(Backbone(id="alice/evil", allow_pickle=True), NAMES, seed=0, task=IMAGES)
    assert not os.path.exists(target)


def test_no_service_is_asked_to_convert_pickled_weights(hub, checkpoint, monkeypatch):
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION")
    files = {file.name: file.read_bytes() for file in checkpoint("vit").iterdir()}
    torch.save(load(files.pop("model.safetensors")), pickled := io.BytesIO())
    hub.add("alice/pickled", files | {"pytorch_model.bin": pickled.getvalue()})
    load_model(Backbone(id="alice/pickled", allow_pickle=True), NAMES, seed=0, task=IMAGES)
    assert hub.count("HEAD .*/resolve/.*/pytorch_model.bin")
    # the first question of a conversion: does somebody's earlier one still fit?
    assert not hub.count("/commits|discussions|refs")


def test_code_of_a_repository_is_not_run_unless_asked_for(hub, checkpoint, tmp_path):
    target = tmp_path / "owned"
    code = f"import os\nos.mkdir({str(target)!r})\n".encode()
    config = b'{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}'
    served(hub, checkpoint("vit"), **{"mine.py": code, "config.json": config})
    with pytest.raises(ModelError, match="backbone 'alice/tiny' cannot be loaded"):
        load_model(Backbone(id="alice/tiny"), NAMES, seed=0, task=IMAGES)
    assert not target.exists()


def test_weights_that_are_none_are_named(hub, checkpoint):
    served(hub, checkpoint("vit"), **{"model.safetensors": b"<html>not found</html>"})
    with pytest.raises(ModelError, match="backbone 'alice/tiny' cannot be loaded"):
        load_model(Backbone(id="alice/tiny"), NAMES, seed=0, task=IMAGES)


def test_an_adapter_is_no_backbone(hub):
    hub.add("alice/adapter", {"adapter_config.json": b"{}", "config.json": b"{}"})
    with pytest.raises(ModelError, match="is an adapter, not a whole model"):
        load_model(Backbone(id="alice/adapter"), NAMES, seed=0, task=IMAGES)


def test_what_is_shared_tells_no_folder_of_this_machine(tiny_recipe):
    shared = shareable(tiny_recipe)
    assert shared.data.path == f"./{tiny_recipe.data.path.rpartition('/')[2]}"
    assert "/tmp" not in shared.to_json()
    commit = {"backbone.id": "alice/tiny", "backbone.revision": "0" * 40}
    assert shareable(tiny_recipe.override(commit)).backbone.id == "alice/tiny"


def test_licences_are_those_of_the_cards(hub, checkpoint, tiny_recipe):
    served(hub, checkpoint("vit"), **{"README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# T\n"})
    recipe = pin(tiny_recipe.override({"backbone.id": "alice/tiny"}))
    assert licences(recipe).backbone is None  # nothing is cached
    fetch(recipe.backbone.id, recipe.backbone.revision)
    found = licences(recipe)
    assert (found.backbone, found.data) == ("cc-by-nc-4.0", None)
    assert found.non_commercial == ("backbone",)
