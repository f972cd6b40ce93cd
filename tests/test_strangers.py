"""What sends, fetches, runs code or trusts counts only where this user's own command says it."""

import json
import shlex
import shutil

import pytest
from checkpoints import with_own_code

from ftkit import (
    Backbone,
    Data,
    ModelError,
    Recipe,
    RecipeError,
    TextClassification,
    Train,
    finetune,
)
from ftkit.backbones import family_of
from ftkit.cli.main import main
from ftkit.cli.perceptron_plots import check_network
from ftkit.cli.request import resolve
from ftkit.compare.finished_runs import read_runs
from ftkit.compare.report.shown_rows import inputs_of
from ftkit.prediction.predict import predict
from ftkit.publishing.push import repository_files
from ftkit.recipe.strangers import words_to_repeat
from ftkit.registry import find, is_own
from ftkit.runs.result import RunResult
from ftkit.tasks import task_of

ASKED = {
    "backbone.trust_remote_code": True,
    "backbone.allow_pickle": True,
    "train.push_checkpoints": "bob/his",
    "train.compile": True,
}
ADDRESS = "http://127.0.0.1:9/rows.csv"
SOURCE = """
from ftkit import Backbone, Data, Recipe, Train
recipe = Recipe(name="mine", data=Data(path="http://127.0.0.1:9/rows.csv"),
    backbone=Backbone(id="owner/bert", trust_remote_code=True, allow_pickle=True),
    train=Train(push_checkpoints="bob/his"))
"""


@pytest.fixture(autouse=True)
def _heard(caplog):
    caplog.set_level("WARNING", logger="ftkit")


def resolved(name, *changes, data=None):
    return resolve(str(name), None, data, None, changes, False, None)


@pytest.fixture(params=["folder", "hub"])
def stranger(request, hub, tiny_recipe, tmp_path):
    """A function that leaves a recipe in a folder or on the Hub, and returns what it is called."""

    def leave(**changes):
        text = tiny_recipe.override(changes).to_json()
        if request.param == "hub":
            hub.add("bob/his", {"recipe.json": text.encode()})
            return "bob/his"
        (tmp_path / "recipe.json").write_text(text)
        return str(tmp_path / "recipe.json")

    return leave


def test_a_strangers_recipe_gets_nothing_that_it_asks_for(stranger, tiny_recipe, caplog):
    assert resolved(stranger(**ASKED)) == tiny_recipe
    for path, value in ASKED.items():
        assert f"--set {path}={'true' if value is True else value}" in caplog.text


def test_what_the_command_repeats_counts_without_a_word(stranger, tiny_recipe, caplog):
    wanted = tiny_recipe.override(ASKED)
    words = words_to_repeat(wanted)
    assert resolved(stranger(**ASKED), *words[1::2]) == wanted
    assert caplog.text == ""


def test_a_flag_repeats_too(stranger, caplog):
    name = stranger(**ASKED)
    assert main(["train", name, "--push-checkpoints", "me/mine", "--show"]) == 0
    assert "trust_remote_code" in caplog.text
    assert "push_checkpoints" not in caplog.text


def test_a_strangers_address_is_fetched_only_when_it_is_repeated(stranger, tiny_recipe):
    name = stranger(**{"data.path": ADDRESS})
    with pytest.raises(RecipeError, match=r"may be the work of others.*--set data.path=http"):
        resolved(name)
    assert find(name).data.path == ADDRESS  # but shown
    assert resolved(name, f"data.path={ADDRESS}").data.path == ADDRESS
    assert resolved(name, data="rows.csv").data.path == "rows.csv"


@pytest.mark.parametrize("command", ["train", "check", "compare", "sweep"])
def test_every_command_refuses_a_strangers_address(command, stranger, capsys):
    more = ["--set", "strategy.learning_rate=1e-4..1e-2"] if command == "sweep" else []
    assert main([command, stranger(**{"data.path": ADDRESS}), *more]) == 2
    assert "its rows are not fetched from http://127.0.0.1:9/rows.csv" in capsys.readouterr().err


def test_a_python_file_that_the_user_names_is_his_own(tmp_path, caplog):
    (tmp_path / "mine.py").write_text(SOURCE)
    found = resolved(tmp_path / "mine.py")
    assert (found.backbone.trust_remote_code, found.backbone.allow_pickle) == (True, True)
    assert (found.train.push_checkpoints, found.data.path) == ("bob/his", ADDRESS)
    assert caplog.text == ""
    assert [is_own(name) for name in ("effnet-digits", "bob/his", "x.json")] == [True, False, False]


def test_trust_in_the_backbone_of_a_recipe_is_none_in_another(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)

    def trusts(backbone, *changes):
        found = resolve(str(tmp_path / "mine.py"), None, None, backbone, changes, False, None)
        return found.backbone.trust_remote_code, found.backbone.allow_pickle

    assert trusts("owner/bert") == (True, True)
    assert trusts("bob/bert") == (False, False)
    assert trusts("bob/bert", "backbone.trust_remote_code=true") == (True, False)


def test_the_gradient_check_fetches_no_address_of_a_run_folder(tmp_path):
    recipe = find("mlp-diabetes").override({"data.path": ADDRESS})
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    with pytest.raises(RecipeError, match="its rows are not fetched"):
        check_network(str(tmp_path), 4, 4)


def test_a_report_fetches_no_address_of_a_given_folder(finished_run, tmp_path, monkeypatch):
    run = shutil.copytree(finished_run, tmp_path / "run")
    recipe = Recipe.from_json((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(recipe.override({"data.path": ADDRESS}).to_json())
    fetched = []
    monkeypatch.setattr("ftkit.data.sources.fetch", lambda url, _: fetched.append(url) or run)
    assert inputs_of(read_runs([run])[0], [0, 1]) == {}
    assert fetched == []


def test_the_words_to_go_on_name_what_must_be_repeated(tiny_recipe, tmp_path, capsys):
    """Of a run whose recipe trusts code, that command as it stands resumes with all of it."""
    there = tiny_recipe.override(ASKED)
    (tmp_path / "recipe.json").write_text(there.to_json())
    assert main(["train", str(tmp_path / "recipe.json"), "--out", str(tmp_path), "--resume"]) == 2
    said = capsys.readouterr().err
    words = shlex.split(said.partition("resume with ")[2].partition(", give")[0])
    assert words[0] == "--recipe"
    assert resolved(words[1], *words[3::2]) == there


@pytest.fixture(scope="module")
def own_code(checkpoint, tmp_path_factory):
    """A finished run of a backbone with Python code, verified, and the file its code leaves."""
    folder = tmp_path_factory.mktemp("own-code")
    backbone = with_own_code(shutil.copytree(checkpoint("bert"), folder / "bert"), folder / "mark")
    kinds = {"fruit": ("apple", "pear", "plum"), "metal": ("iron", "gold", "tin")}
    rows = [
        {"text": f"{one} {two}", "label": kind}
        for kind, words in kinds.items()
        for one in words
        for two in "abcdefgh"
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        name="own-code",
        data=Data(path=str(folder / "rows.jsonl")),
        backbone=Backbone(id=str(backbone), trust_remote_code=True),
        task=TextClassification(text="text", label="label"),
        train=Train(epochs=1, batch_size=16),
    )
    finetune(recipe, folder / "run")
    assert (folder / "mark").exists()
    return folder / "run", folder / "mark"


def test_code_in_a_folder_runs_only_when_the_command_says_so(own_code, caplog):
    """A run made here is no other than one that was downloaded."""
    run, mark = own_code
    mark.unlink()
    with pytest.raises(ModelError, match=r"only with --set backbone.trust_remote_code=true"):
        predict(run, ["iron"])
    assert not mark.exists()
    assert "--set backbone.trust_remote_code=true" in caplog.text
    assert len(predict(run, ["iron"], changes={"backbone.trust_remote_code": True})) == 1
    assert mark.exists()


def test_code_that_is_trusted_is_published_with_the_model(own_code):
    run, _ = own_code
    recipe = Recipe.from_json((run / "recipe.json").read_text())
    files = repository_files(run, recipe, RunResult.read(run), "me/mine")
    assert "mine.py" in files
    assert b"`trust_remote_code=True`" in files["README.md"]


def test_a_published_recipe_sends_no_checkpoints(finished_run, tiny_recipe):
    sending = tiny_recipe.override({"train.push_checkpoints": "me/mine"})
    files = repository_files(finished_run, sending, RunResult.read(finished_run), "me/mine")
    assert json.loads(files["recipe.json"])["train"]["push_checkpoints"] is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "not a LoRA adapter"),
        ({"peft_type": "LORA", "megatron_config": {}}, "not a LoRA adapter"),
        ({"peft_type": "LORA"}, "no adapter_model.safetensors"),
    ],
)
def test_an_adapter_that_no_run_leaves_is_refused(
    settings, why, finished_run, tiny_recipe, tmp_path
):
    """peft would read pickled weights, import a module, or fetch a tokenizer with its code."""
    shutil.copytree(finished_run / "model", tmp_path / "model")
    (tmp_path / "model" / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "model" / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(ModelError, match=why):
        family_of(tiny_recipe.backbone).reload(tmp_path / "model", task_of(tiny_recipe.task))


def test_pickled_weights_in_a_run_folder_are_not_read(finished_run, tiny_recipe, tmp_path):
    shutil.copytree(finished_run / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be loaded.*safetensors"):
        family_of(tiny_recipe.backbone).reload(tmp_path / "model", task_of(tiny_recipe.task))
