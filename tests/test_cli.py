"""The command line as a person meets it: real processes, exit status, one clear line."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from conftest import make_image

from ftkit import Augment, DataError
from ftkit.cli.folders import default_folder
from ftkit.cli.main import main
from ftkit.cli.request import Flags, resolve, short_name
from ftkit.recipe.defaults import LEAST_STEPS
from ftkit.registry import find

CLOSED = "http://127.0.0.1:9"


def cold(*words):
    """Return the command line of a Python that is started anew."""
    return [sys.executable, *words]


def run(*words, cwd, python=warm.python, **environment):
    return subprocess.run(
        python("-m", "ftkit.cli", *map(str, words)),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
    )


@pytest.fixture
def one_class(tmp_path):
    (tmp_path / "one" / "red").mkdir(parents=True)
    for number in range(4):
        make_image("red", number).save(tmp_path / "one" / "red" / f"{number}.png")
    return tmp_path / "one"


@pytest.fixture
def foreign_test_class(tmp_path):
    for split, colours in (("train", ("red", "blue")), ("test", ("red", "green"))):
        for colour in colours:
            (tmp_path / "foreign" / split / colour).mkdir(parents=True)
            for number in range(4):
                path = tmp_path / "foreign" / split / colour / f"{number}.png"
                make_image(colour, number).save(path)
    return tmp_path / "foreign"


@pytest.fixture
def other_run(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "recipe.json").write_text(find("vit-cifar").to_json())
    return tmp_path / "there"


WRONG = {
    "unknown recipe": ("train effnt-digits", "did you mean 'effnet-digits'"),
    "unknown field": ("train effnet-digits --set train.epoch=3", "did you mean 'train.epochs'"),
    "unknown flag": ("train effnet-digits --epoch 3", "Did you mean --epochs"),
    "unknown strategy": ("train effnet-digits --strategy lorra", "did you mean 'lora'"),
    "negative learning rate": (
        "train effnet-digits --learning-rate=-1",
        "strategy.learning_rate = -1.0: expected greater than 0",
    ),
    "missing folder": ("train effnet-digits --data ./nowhere", "there is no such file or folder"),
    "one class": ("train effnet-digits --data {one_class}", "1 class (red)"),
    "missing column": (
        "train effnet-digits --set task.image=picture",
        "no column 'picture'; columns are image, label",
    ),
    "class only in test": ("train effnet-digits --data {foreign_test_class}", "lack: green"),
    "unreachable hub": ("train effnet-digits --data nobody/nothing", CLOSED),
    "folder of another run": (
        "train effnet-digits --out {other_run}",
        "an unfinished run of vit-cifar (full)",
    ),
    "no recipe": ("train", "which recipe? Name one of bart-cldr, "),
    "no recipe to check": ("check", "or give rows by --data, and one that suits them is taken"),
    "strategy like auto": ("train effnet-digits --strategy automatic", "did you mean 'auto'"),
    "odd set": ("train effnet-digits --set rank", "FIELD=VALUE"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_writes_nothing(case, request, tmp_path):
    words, expected = WRONG[case]
    for name in ("one_class", "foreign_test_class", "other_run"):
        if "{" + name + "}" in words:
            words = words.format(**{name: request.getfixturevalue(name)})
    there = sorted(tmp_path.rglob("*"))
    hub = {"HF_ENDPOINT": CLOSED} if case == "unreachable hub" else {}
    done = run(*words.split(), cwd=tmp_path, **hub)
    assert done.returncode == 2
    complaint = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1
    assert expected in complaint[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert sorted(tmp_path.rglob("*")) == there


def test_a_smoke_run_takes_two_steps_and_says_where_things_are(tiny_recipe, tmp_path):
    (tmp_path / "mine.json").write_text(tiny_recipe.to_json())
    words = ("train", "mine.json", "--smoke", "--epochs", "1", "--batch-size", "16")
    done = run(*words, cwd=tmp_path, python=cold)
    assert done.returncode == 0, done.stderr
    folder = Path("runs/tiny-colours-full-seed0-smoke")
    assert f"model    {folder}/model" in done.stdout
    *_, last = done.stdout.splitlines()
    assert last == f"next     ftkit predict {folder} IMAGES, ftkit compare mine.json"
    resolved = json.loads((tmp_path / folder / "recipe.json").read_text())
    assert (resolved["train"]["epochs"], resolved["train"]["batch_size"]) == (1, 16)
    assert resolved["data"]["train_rows"] == 64
    log = (tmp_path / folder / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == 2
    shown = run("compare", folder, cwd=tmp_path)
    assert "tiny-colours" in shown.stdout


def test_check_says_the_plan_and_writes_nothing(tiny_recipe, tmp_path):
    (tmp_path / "mine.json").write_text(tiny_recipe.to_json())
    done = run("check", "mine.json", "--strategy", "lora", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train      51 rows, 17 a class" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_ctrl_c_is_no_error(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ftkit.planning.check.check", interrupted)
    assert main(["check", "mlp-digits"]) == 130
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "stopped; go on with: ftkit check mlp-digits"


def test_own_data_and_backbone_replace_the_recipes(tmp_path):
    changed = resolve("vit-cifar", "lora", "photos", "me/model", ["strategy.rank=4"], False, None)
    assert changed.data.path == "photos"
    assert changed.data.revision is None
    assert (changed.backbone.id, changed.backbone.revision) == ("me/model", None)
    assert changed.strategy.rank == 4
    assert changed.task.image is None  # the column of other data
    assert (changed.name, changed.expect) == ("vit-cifar-photos-me", ())
    other = resolve("vit-cifar", None, None, None, ["data.path=birds.csv"], False, None)
    assert other.name == "vit-cifar-birds"
    own = resolve("vit-cifar", None, "uoft-cs/cifar10", None, ["train.epochs=1"], False, None)
    assert own.name == "vit-cifar"
    named = resolve("vit-cifar", None, "photos", None, ["name=mine"], False, None)
    assert named.name == "mine"


def test_a_slip_in_a_name_of_data_is_told_before_the_hub_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "photos").mkdir(parents=True)
    for slip in ("mine/fotos", "mein"):
        near = "mine/photos" if "/" in slip else "mine"
        with pytest.raises(DataError, match=f"did you mean '{near}'"):
            resolve("vit-cifar", None, slip, None, [], False, None)
    for name in ("mine/photos", "alice/fotos", "embedded:digits", "mine/*.png"):
        resolve("vit-cifar", None, name, None, [], False, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train effnet-digits --data fotos", "did you mean 'photos'"),
        ("train effnet-digits --data photos --out photos", "is not empty and holds no run"),
        ("compare effnet-digits --strategies majority,hed", "did you mean 'head'"),
        ("predict runs/nix photos", "there is no run at runs/nix; there are runs/first"),
        ("predict runs/fist photos", "there is no run at runs/fist; did you mean 'runs/first'"),
    ],
)
def test_slips_are_told_before_torch_is_imported_and_without_a_word_before(words, said, tmp_path):
    for file in ("photos/a.png", "runs/first/run.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("")
    code = (
        "import sys; from ftkit.cli.main import main; status = main(sys.argv[1:]); "
        "sys.exit('torch' in sys.modules or status != 2)"
    )
    command = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_own_data_gets_the_defaults_and_the_log_says_how_to_keep_the_recipes_choices(caplog):
    caplog.set_level(logging.INFO)
    own = resolve("effnet-digits", None, "photos", None, [], False, None)
    assert own.backbone.image_size is None
    assert own.task.augment == Augment()
    known = find("effnet-digits")
    assert own.strategy == known.strategy
    assert own.train == known.train.model_copy(update={"least_steps": LEAST_STEPS})
    (line,) = caplog.messages
    keep = re.findall(r"--set (\S+)", line)
    assert "--set backbone.image_size=96" in line
    kept = resolve("effnet-digits", None, "photos", None, keep, False, None)
    assert (kept.backbone, kept.task, kept.train) == (known.backbone, known.task, known.train)
    assert len(caplog.messages) == 1  # nothing was reset the second time
    few = resolve("effnet-digits", None, "photos", None, [], False, Flags(epochs=1))
    assert few.train.least_steps == 0  # so many epochs were asked for

    caplog.clear()
    head = resolve("minilm-langid", "head", "texts.csv", None, [], False, None).strategy
    assert (head.pooler, head.weight_decay) == (False, None)
    assert "--set strategy.pooler=true --set strategy.weight_decay=0.1" in caplog.messages[0]
    asked = resolve("minilm-langid", "head", "t.csv", None, ["strategy.pooler=true"], False, None)
    assert (asked.strategy.pooler, asked.strategy.weight_decay) == (True, 0.1)
    assert find("minilm-langid").with_strategy("head").strategy.pooler  # for its own data

    caplog.clear()
    texts = resolve("distilbert-sst2", None, "reviews.csv", None, [], False, None)
    assert texts.task.max_length is None
    assert "data.test=validation" in caplog.text  # the recipe tests on the split `validation`
    grey = resolve("mlp-digits", None, "photos", None, ["backbone.hidden=[8]"], False, None)
    assert (grey.backbone.grey, grey.backbone.hidden) == (False, (8,))
    smooth = resolve("vit-cifar", None, "photos", None, [], False, Flags(label_smoothing=0.2))
    assert smooth.train.label_smoothing == 0.2
    plain = resolve("vit-cifar", None, "photos", None, [], False, None)
    assert plain.train.label_smoothing == 0


@pytest.mark.parametrize("data", [None, "embedded:digits"])
def test_the_recipes_own_data_keeps_the_recipes_choices(data, caplog):
    caplog.set_level(logging.INFO)
    own = resolve("effnet-digits", None, data, None, [], False, None)
    assert own == find("effnet-digits")
    assert not caplog.messages


def test_a_learning_rate_that_is_asked_for_is_used(caplog):
    def solver(changes=(), **flags):
        found = resolve("effnet-digits", "head", None, None, list(changes), False, Flags(**flags))
        return found.strategy.solver

    assert solver() == "auto"
    assert solver(epochs=3) == "auto"
    assert solver(learning_rate=1e-3) == "adamw"
    assert solver(learning_rate="auto") == "auto"  # the log says that there is none to look for
    assert solver(["strategy.learning_rate=0.01"]) == "adamw"
    assert solver(["strategy.learning_rate=0.01", "strategy.solver=lbfgs"]) == "lbfgs"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/My Photos/", "my-photos"),
        ("photos/train.csv", "photos"),
        ("https://host.org/a/reviews.csv.gz?download=1", "reviews"),
        ("rows/*.csv", "rows"),
        ("timm/resnet50.a1_in1k", "resnet50"),
        ("..", "own"),
    ],
)
def test_what_data_and_backbones_are_about(path, name):
    assert short_name(path) == name


def test_the_default_folder_tells_recipe_strategy_and_seed():
    recipe = find("effnet-digits").with_strategy("lora").override({"train.seed": 7})
    assert default_folder(recipe, smoke=False) == Path("runs/effnet-digits-lora-seed7")


def test_show_prints_a_recipe_that_can_be_run_again(capsys, tmp_path):
    assert main(["show", "vit-cifar"]) == 0
    file = tmp_path / "again.json"
    file.write_text(capsys.readouterr().out)
    assert find(str(file)) == find("vit-cifar")


def test_list_names_every_recipe(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name in ("vit-cifar", "resnet-cifar", "convnext-pets", "effnet-digits"):
        assert name in shown


@pytest.mark.parametrize("words", ["list", "--help", "train --help", "show vit-cifar"])
def test_quick_answers_import_neither_torch_nor_transformers(words):
    code = (
        "import sys; from ftkit.cli.main import main; main(sys.argv[1:]); "
        "loaded = {'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_importing_ftkit_leaves_torch_out():
    code = "import sys, ftkit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_message_says_names_as_they_are(capsys):
    assert main(["show", "photos:100:[red]"]) == 2
    assert "photos:100:[red]" in capsys.readouterr().err
