"""A finished run answers rows that it has not seen, as it answered its test rows."""

import io
import json

import language_checkpoints
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import leave_unverified, make_image
from PIL import Image

from ftkit import (
    Backbone,
    Data,
    LanguageModelling,
    Mlp,
    Recipe,
    TabularRegression,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Train,
    Translation,
    finetune,
)
from ftkit.cli.main import main
from ftkit.cli.predict import _print_table
from ftkit.prediction.predict import predict

WORDS = {"fruit": ["apple", "pear", "plum"], "metal": ["iron", "gold", "tin"]}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    leave_unverified(monkeypatch)


@pytest.fixture(scope="module")
def texts():
    """60 rows of texts with everything that can be told of them."""
    random, found = np.random.default_rng(0), []
    for number in range(60):
        kind = ["fruit", "metal"][number % 2]
        words = [str(word) for word in random.choice(WORDS[kind], 3)]
        found.append(
            {
                "text": " ".join(words),
                "kind": kind,
                "share": number / 60,
                "kinds": [kind],
                "words": words,
                "tags": [kind.upper()] * 2 + ["O"],
                "german": " ".join(words[::-1]),
                "length": len(" ".join(words)),
                "number": number,
            }
        )
    return found


TASKS = {
    "classes": (TextClassification(text="text", label="kind"), "bert"),
    "numbers": (TextRegression(text="text", label="share"), "bert"),
    "tags": (TextTagging(text="text", label="kinds"), "bert"),
    "words": (TokenClassification(tokens="words", label="tags"), "bert"),
    "translations": (Translation(source="text", target="german", max_length=32, beams=1), "t5"),
}


def written(rows, file, without=()):
    lines = [{k: v for k, v in row.items() if k not in without} for row in rows]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def trained(task, backbone, rows, folder, **changes):
    recipe = Recipe(
        name="tiny-texts",
        data=Data(path=str(written(rows, folder / "rows.jsonl"))),
        backbone=backbone,
        task=task,
        train=Train(epochs=1, batch_size=16),
    )
    result = finetune(recipe.override(changes), folder / "run")
    return folder / "run", result


def the_same(found, run):
    """Require that the answers to the test rows are those of predictions.parquet."""
    wanted = pq.read_table(run / "predictions.parquet").to_pydict()
    order = wanted.pop("index")
    for name, values in wanted.items():
        if name not in found.columns:
            assert name in ("label", "loss", "group")
            continue
        for place, value in zip(order, values, strict=True):
            got = found.columns[name][place]
            close = isinstance(value, float) or name == "probability"
            assert got == (pytest.approx(value, abs=1e-4) if close else value)


@pytest.mark.parametrize("name", TASKS)
def test_rows_are_answered_as_in_the_run_with_labels_and_without(name, texts, checkpoint, tmp_path):
    task, family = TASKS[name]
    backbone = Backbone(id=str(checkpoint(family)))
    run, _ = trained(task, backbone, texts, tmp_path)
    known = predict(run, [str(tmp_path / "rows.jsonl")])
    assert set(task.figures) <= set(known.metrics)
    label = task.target if name == "translations" else task.label
    bare = predict(run, [str(written(texts, tmp_path / "bare.jsonl", without=[label]))])
    assert bare.metrics == {}
    assert "label" not in bare.columns
    for found in (known, bare):
        assert len(found) == len(texts)
        the_same(found, run)


def test_a_language_model_measures_texts_and_writes_to_prompts(tmp_path):
    backbone = language_checkpoints.make("llama", tmp_path / "llama", language_checkpoints.CHATML)
    talks = [
        {"messages": [{"role": r, "content": f"{r} {n}"} for r in ("user", "assistant")]}
        for n in range(30)
    ]
    task = LanguageModelling(messages="messages", max_length=128, max_new_tokens=8)
    run, _ = trained(task, Backbone(id=str(backbone)), talks, tmp_path)
    found = predict(run, [str(tmp_path / "rows.jsonl")])
    wanted = pq.read_table(run / "predictions.parquet").to_pydict()
    losses = [found.columns["loss"][place] for place in wanted["index"]]
    assert losses == pytest.approx(wanted["loss"], abs=1e-4)
    answered = [n for n, text in enumerate(wanted["written"]) if text is not None]
    assert len(answered) > 1
    prompts = [wanted["prompt"][n] for n in answered]
    written = predict(run, prompts).columns["written"]
    assert written == [wanted["written"][n] for n in answered]


def test_figures_are_those_of_the_run(finished_run, tiny_recipe, tmp_path):
    """The test rows of the run, each as a file of its class folder."""
    table = pq.read_table(finished_run / "predictions.parquet").to_pydict()
    for index, label in zip(table["index"], table["label"], strict=True):
        (tmp_path / label).mkdir(exist_ok=True)
        make_image(label, index % 24).save(tmp_path / label / f"{index:03d}.png")
    found = predict(finished_run, [str(tmp_path)])
    run = json.loads((finished_run / "run.json").read_text())
    assert found.metrics["accuracy"].value == run["metrics"]["accuracy"]["value"]
    assert sorted(found.columns["label"]) == sorted(table["label"])


def test_a_perceptron_answers(texts, tmp_path):
    run, _ = trained(
        TabularRegression(columns=("length", "number"), label="share"),
        Mlp(hidden=(8,)),
        texts,
        tmp_path,
    )
    the_same(predict(run, [str(tmp_path / "rows.jsonl")]), run)


def test_columns_of_a_table_are_those_of_the_training(texts, tmp_path):
    """The table has a third column of numbers now, and nobody says which two are meant."""
    rows = [{k: row[k] for k in ("length", "number", "share")} for row in texts]
    run, _ = trained(TabularRegression(label="share"), Mlp(hidden=(8,)), rows, tmp_path)
    more = [{"another": 1, **row} for row in rows]
    found = predict(run, [str(written(more, tmp_path / "more.jsonl", without=["share"]))])
    the_same(found, run)


def test_texts_on_the_command_line_and_from_stdin(texts, checkpoint, tmp_path, capsys, monkeypatch):
    task, family = TASKS["classes"]
    run, _ = trained(task, Backbone(id=str(checkpoint(family))), texts, tmp_path)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("iron gold tin\n\napple\n"))
    said = []
    for words in (["iron gold tin", "apple"], []):
        assert main(["predict", str(run), *words]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    table = pd.read_csv(io.StringIO(said[0]))
    assert table["text"].tolist() == ["iron gold tin", "apple"]
    assert set(table["prediction"]) <= {"fruit", "metal"}
    assert np.allclose(table["p(fruit)"] + table["p(metal)"], 1, atol=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_holds_a_row_for_each(suffix, finished_run, class_folders, tmp_path, capsys):
    file = tmp_path / f"answers{suffix}"
    assert main(["predict", str(finished_run), str(class_folders), "--out", str(file)]) == 0
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet}.get(
        suffix, lambda file: pd.read_json(file, lines=True)
    )
    table = read(file)
    assert len(table) == 72
    assert {"image", "label", "prediction"} <= set(table)
    said = capsys.readouterr()
    assert "72 answers" in said.err
    assert "accuracy" in said.err
    assert said.out == ""


def test_a_published_model_answers_like_its_run(hub, finished_run, class_folders):
    from ftkit import publish

    publish(finished_run, "alice/colours")
    here, there = (predict(run, [str(class_folders)]) for run in (finished_run, "alice/colours"))
    assert there.metrics == here.metrics


def test_rows_of_which_some_have_a_label(texts, checkpoint, tmp_path, capsys, caplog):
    task, family = TASKS["classes"]
    run, _ = trained(task, Backbone(id=str(checkpoint(family))), texts, tmp_path)
    file = tmp_path / "some.csv"
    file.write_text("text,kind\ngold,metal\nplum,\n")
    found = predict(run, [str(file)])
    assert list(found.columns["label"]) == ["metal", None]
    assert found.measured == 1
    right = float(found.columns["prediction"][0] == "metal")
    assert found.metrics["accuracy"].value == right
    capsys.readouterr()
    file.write_text("text,kind\ngold,metal\nplum,wood\niron,metal\n")
    assert main(["predict", str(run), str(file)]) == 0
    said = capsys.readouterr()
    assert "1 row has a label that the model does not know (wood)" in caplog.text
    assert "on 2 rows" in said.err
    assert len(said.out.splitlines()) == 4
    assert main(["predict", str(run), str(file), "--set", "task.text=txt"]) == 2
    assert "no column 'txt'; columns are text, kind; did you mean" in capsys.readouterr().err


WRONG = {
    "there is no such file": ["photo.jpg"],
    "the model reads images": ["some words"],
    "expected one data set, or any number of images": ["rows.csv", "some words"],
    "there is no split 'tset'": ["other", "--split", "tset"],
    "holds no run": None,
    "expected a name that ends in .csv": ["other", "--out", "answers.xlsx"],
    "there is no folder nowhere": ["other", "--out", "nowhere/answers.csv"],
    "there is nothing to answer": [],
}


@pytest.mark.parametrize("why", WRONG)
def test_what_cannot_be_answered_is_refused_in_one_line(
    why, finished_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for colour in ("red", "yellow"):
        (tmp_path / "other" / colour).mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / "other" / colour / "1.png")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    words = [str(tmp_path), "other"] if WRONG[why] is None else [str(finished_run), *WRONG[why]]
    assert main(["predict", *words]) != 0
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.count("error:") == 1
    assert not (tmp_path / "answers.xlsx").exists()


def test_a_strangers_run_switches_nothing_dangerous_on(hub, finished_run, class_folders, caplog):
    """What it names as its class would be fetched from a third repository, and run."""
    model = finished_run / "model"
    recipe = json.loads((finished_run / "recipe.json").read_text())
    recipe["backbone"] |= {"trust_remote_code": True, "allow_pickle": True}
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "bob/evil--evil.Model"}
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    files["run.json"] = (finished_run / "run.json").read_bytes()
    files |= {
        "recipe.json": json.dumps(recipe).encode(),
        "config.json": json.dumps(config).encode(),
    }
    hub.add("alice/colours", files)
    hub.add("bob/evil", {"evil.py": b"raise SystemExit('code of a stranger was run')"})
    caplog.set_level("INFO", logger="ftkit")
    found = predict("alice/colours", [str(class_folders)])
    assert len(found) == 72
    assert "trust_remote_code=true" in caplog.text


def test_texts_are_shown_as_they_are(capsys):
    _print_table(
        {"text": ["[bold]a[/] :smile:"], "prediction": ["b"], "probability": [[0.25, 0.75]]}, 1
    )
    said = capsys.readouterr().out
    assert "[bold]a[/] :smile:" in said
    assert "0.750" in said


def test_a_prompt_without_room_is_said(tmp_path, caplog):
    backbone = language_checkpoints.make("llama", tmp_path / "llama", language_checkpoints.CHATML)
    talks = [
        {"messages": [{"role": r, "content": f"{r} {n}"} for r in ("user", "assistant")]}
        for n in range(30)
    ]
    task = LanguageModelling(messages="messages", max_length=64, max_new_tokens=8)
    run, _ = trained(task, Backbone(id=str(backbone)), talks, tmp_path)
    caplog.set_level("INFO", logger="ftkit")
    written = predict(run, ["short", "long " * 40]).columns["written"]
    assert [text is None for text in written] == [False, True]
    assert "1 of 2 texts have no answer" in caplog.text
