"""Rows without a recipe's name: task and backbone are found by the columns, and said."""

import json

import pytest
from conftest import make_image
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from ftkit import DataError, RecipeError
from ftkit.cli.main import main
from ftkit.cli.request import resolve
from ftkit.recipe import Contrastive
from ftkit.registry import find
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

WORDS = ["the film was long and the music loud", "we laughed a lot on that evening out"]
COUNT = 40


def table(folder, suffix="csv", **columns):
    """A file of rows; its folder."""
    folder = folder / "mine"
    folder.mkdir(exist_ok=True)
    rows = Dataset.from_dict(columns)
    if suffix == "csv":
        rows.to_csv(folder / "rows.csv")
    else:
        rows.to_parquet(folder / "rows.parquet")
    return folder


def texts(count=COUNT):
    return [f"{WORDS[n % 2]} {n}" for n in range(count)]


def pictures(folder, count=12):
    names = []
    for n in range(count):
        names.append(f"{n}.png")
        colour = (200, 0, n) if n % 2 else (0, 200, n)
        Pillow.new("RGB", (16, 16), colour).save(folder / names[-1])
    return names


def asked(data, *changes):
    return resolve(None, None, str(data), None, changes, False, None)


CLASSES = [("good", "bad")[n % 2] for n in range(COUNT)]
FLOATS = [n * 0.37 for n in range(COUNT)]
NAMES = [f"Ann {n}" for n in range(COUNT)]
WHOLE = [n % 5 for n in range(COUNT)]


@pytest.mark.parametrize(
    ("columns", "kind", "name"),
    [
        ({"text": texts(), "label": CLASSES}, "text-classification", "minilm"),
        ({"said": texts(), "label": CLASSES}, "text-classification", "minilm"),
        ({"said": texts(), "stars": WHOLE, "label": CLASSES}, "text-classification", "minilm"),
        ({"text": texts(), "label": WHOLE}, "text-classification", "minilm"),
        ({"text": ["0012", "0013"] * 20, "label": CLASSES}, "text-classification", "minilm"),
        ({"text": texts(), "label": FLOATS}, "text-regression", "minilm"),
        ({"text": texts(), "label": [*range(COUNT)]}, "text-regression", "minilm"),
        ({"a": FLOATS, "b": WHOLE, "label": CLASSES}, "tabular-classification", "mlp"),
        ({"a": FLOATS, "color": CLASSES, "label": WHOLE}, "tabular-classification", "mlp"),
        ({"a": WHOLE, "who": NAMES, "label": FLOATS}, "tabular-regression", "mlp"),
        (
            {"a": FLOATS, "b": WHOLE, "c": CLASSES, "said": texts(), "label": CLASSES},
            "tabular-classification",
            "mlp",
        ),
        (
            {"said": texts(), "who": NAMES, "stars": WHOLE, "label": CLASSES},
            "text-classification",
            "minilm",
        ),
        ({"a": FLOATS, "label": [n % 2 for n in range(COUNT)]}, "tabular-classification", "mlp"),
    ],
)  # fmt: skip
def test_a_table_says_what_its_rows_are(tmp_path, columns, kind, name):
    recipe = asked(table(tmp_path, **columns))
    assert (recipe.task.kind, recipe.name) == (kind, f"{name}-mine")
    assert recipe.data.path == str(tmp_path / "mine")
    assert recipe.expect == ()


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([["wet"], [], ["wet", "cold"]] * 4, "tagging"),
        (["one", "two"] * 6, "classification"),
        ([n * 0.3 for n in range(12)], "regression"),
    ],
)
@pytest.mark.parametrize("noun", ["image", "text"])
def test_labels_say_what_is_told(tmp_path, labels, kind, noun):
    names = pictures(tmp_path) if noun == "image" else texts(12)
    folder = table(tmp_path, "parquet", **{noun: names, "label": labels})
    assert asked(folder).task.kind == f"{noun}-{kind}"


def test_folders_of_classes_and_files_with_their_types_are_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pictures(tmp_path / "photos" / name)
    recipe = asked(tmp_path / "photos")
    assert (recipe.task.kind, recipe.name) == ("image-classification", "effnet-photos")
    own = find("effnet-digits")
    assert (recipe.backbone.id, recipe.strategy.kind) == (own.backbone.id, "contrastive")  # of few
    assert (recipe.backbone.image_size, recipe.task.augment.flip) == (None, True)  # no digits
    pictures(tmp_path, 4)
    features = Features({"scan": Image(), "kind": ClassLabel(names=["a", "b"])})
    rows = {"scan": [str(tmp_path / f"{n}.png") for n in range(4)], "kind": [0, 1] * 2}
    (tmp_path / "typed").mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "typed/rows.parquet")
    assert asked(tmp_path / "typed").task.kind == "image-classification"


def test_settings_of_the_command_line_say_what_columns_are(tmp_path):
    columns = {"a": FLOATS, "words": CLASSES, "also": texts(), "mood": CLASSES}
    folder = table(tmp_path, **columns)
    with pytest.raises(DataError, match=r"which column is the label\?.*--set task.label=COLUMN"):
        asked(folder)
    recipe = asked(folder, "task.label=mood")
    assert (recipe.task.kind, recipe.task.label) == ("text-classification", "mood")
    recipe = asked(folder, "task.label=mood", 'task.columns=["a","words"]')
    assert recipe.task.columns == ("a", "words")
    assert asked(folder, "task.label=a", "task.text=also").task.kind == "text-regression"
    whole = """task={"kind": "tabular-regression", "label": "a"}"""
    assert asked(folder, whole).task.kind == "tabular-regression"
    with pytest.raises(RecipeError, match=r"task\.kind = text-clasification: .*did you mean"):
        asked(folder, 'task={"kind": "text-clasification"}')


def test_few_labels_are_learned_from_by_pairs(tmp_path, caplog):
    caplog.set_level("INFO")
    few = table(tmp_path, text=texts(32), label=CLASSES[:32])
    assert asked(few).strategy.kind == "contrastive"
    assert "and strategy contrastive, since a class has 16 texts in the mean" in caplog.text
    assert asked(few, "strategy.layer_decay=0.8").strategy.kind == "full"
    assert asked(few, "train.epochs=2").strategy.kind == "full"
    assert asked(few, "train.batch_size=8").strategy.kind == "contrastive"
    own = resolve(None, "head", str(few), None, (), False, None)
    assert own.strategy.kind == "head"
    numbers = table(tmp_path, text=texts(32), label=FLOATS[:32])
    assert asked(numbers).strategy.kind == "full"
    rows = table(tmp_path, a=FLOATS[:32], label=CLASSES[:32])
    assert asked(rows).strategy.kind == "full"
    enough = table(tmp_path, text=texts(130), label=[("good", "bad")[n % 2] for n in range(130)])
    assert asked(enough).strategy.kind == "full"
    assert asked(enough, "data.train_rows=128").strategy.kind == "contrastive"


def test_few_images_are_learned_from_by_pairs(tmp_path, caplog):
    caplog.set_level("INFO")
    for colour in ("red", "blue"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for number in range(36):
            make_image(colour, number).save(tmp_path / "photos" / colour / f"{number}.png")
    photos = tmp_path / "photos"
    few = "data.train_rows=64"
    assert asked(photos, few).strategy == Contrastive(steps=120, learning_rate=2e-4)
    assert "and strategy contrastive, since a class has 32 images in the mean" in caplog.text
    assert asked(photos, few, "train.epochs=2").strategy.kind == "full"
    assert asked(photos).strategy.kind == "full"


def test_a_column_of_labels_without_any_chooses_no_strategy(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b,label\n1,2,\n3,4,\n")
    assert asked(tmp_path / "rows.csv").strategy.kind == "full"


def test_the_column_of_texts_is_known_by_what_it_holds(tmp_path):
    recipe = asked(table(tmp_path, said=texts(), who=NAMES, label=CLASSES))
    assert recipe.task.text == "said"
    pairs = table(tmp_path, premise=texts(), hypothesis=texts(), label=CLASSES)
    recipe = asked(pairs)
    assert recipe.task.text is None
    with pytest.raises(DataError, match=r"premise and hypothesis could all be .*task\.pair=COLUMN"):
        load_splits(recipe.data, task_of(recipe.task))


def test_tags_in_columns_of_their_own(tmp_path):
    marks = {"wet": WHOLE, "cold": WHOLE}
    folder = table(tmp_path, text=texts(), **marks)
    assert asked(folder, 'task.labels=["wet","cold"]').task.kind == "text-tagging"
    folder = table(tmp_path, a=FLOATS, **marks)
    with pytest.raises(RecipeError, match="no task for tables with any number of classes each"):
        asked(folder, 'task.labels=["wet","cold"]')


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"messages": [[{"role": "user", "content": "hello"}]] * 4}, "conversations"),
        ({"tokens": [["a", "b"]] * 4, "ner_tags": [["O", "O"]] * 4}, "words of sentences"),
        ({"translation": [{"en": "a", "de": "b"}] * 4}, "translations"),
    ],
)
def test_rows_that_no_backbone_without_a_network_reads_need_a_name(tmp_path, columns, what):
    with pytest.raises(RecipeError, match=rf"which recipe\? .* holds {what} .*'ftkit list'"):
        asked(table(tmp_path, "parquet", **columns))


def test_rows_without_a_header_are_said_to_be_so(tmp_path):
    lines = "\n".join(f"7.{n},{n},{n % 3}" for n in range(20))
    (tmp_path / "rows.csv").write_text(lines)
    with pytest.raises(DataError, match="the first line looks like a row"):
        asked(tmp_path / "rows.csv")


def test_neither_a_name_nor_rows():
    with pytest.raises(RecipeError, match=r"which recipe\? Name .* or give rows by --data"):
        resolve(None, None, None, None, (), False, None)


def test_a_slip_in_the_path_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, a=FLOATS, label=CLASSES)
    with pytest.raises(DataError, match="did you mean"):
        asked("mien")


def test_every_command_takes_rows_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, a=FLOATS, b=WHOLE, label=CLASSES)
    assert main(["check", "--data", "mine"]) == 0
    told = capsys.readouterr()
    assert "rows with one class each: mlp (mlp-256-256) with task tabular-class" in told.err
    assert "own: --set" not in told.err  # nobody named a recipe that has data of its own
    assert "run        ftkit train --data mine\n" in told.out
    assert main(["train", "--data", "mine", "--epochs", "2"]) == 0
    told = capsys.readouterr().out
    assert "ftkit compare --data mine" in told
    assert json.loads((tmp_path / "runs/mlp-mine-full-seed0/run.json").read_text())["n"] > 0
    words = ["--data", "mine", "--strategies", "majority,boosting", "--out", "both"]
    assert main(["compare", *words]) == 0
    assert "boosting" in capsys.readouterr().out
    words = ["--data", "mine", "--trials", "1", "--epochs", "1", "--set"]
    assert main(["sweep", *words, "strategy.learning_rate=1e-3..1e-2"]) == 0


def test_texts_and_images_of_ones_own_are_trained_without_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    features = Features({"text": Value("string"), "label": List(Value("string"))})
    rows = {"text": texts(24), "label": [["wet"], ["cold", "wet"], []] * 8}
    (tmp_path / "tags").mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "tags/rows.parquet")
    smoke = ["--smoke", "--strategy", "head"]
    assert main(["train", "--data", "tags", *smoke]) == 0, capsys.readouterr().err
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        pictures(tmp_path / "photos" / name)
    assert main(["train", "--data", "photos", *smoke]) == 0, capsys.readouterr().err
    for run in ("minilm-tags", "effnet-photos"):
        assert (tmp_path / f"runs/{run}-head-seed0-smoke/model/config.json").is_file()
