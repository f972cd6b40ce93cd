"""Pushing a Space: its page, the check in Chromium before it, and the repository it becomes.

What goes wrong on the way to the Hub is in tests/test_hub_faults.py, by the same two functions.
"""

import dataclasses
import json
import shutil

import node
import numpy as np
import pytest
import yaml
from browser import CHROMIUM
from fruit_texts import make_rows, recipe_for, write

from ftkit import HubError, MachineError, VerificationError, finetune
from ftkit.cli.main import main
from ftkit.exported.about import About
from ftkit.exported.model import open_export
from ftkit.shipping import browser, npm_files, page, space
from ftkit.shipping.browser import answers_in_browser
from ftkit.shipping.export import Export, export
from ftkit.shipping.npm_files import RUNTIME, TEXTS
from ftkit.shipping.rows import Measured

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def modules():
    return node.require("onnxruntime-web", "@huggingface/tokenizers")


@pytest.fixture(scope="module")
def of_images(finished_run, modules, tmp_path_factory):
    folder = export(finished_run, tmp_path_factory.mktemp("space") / "images").folder
    page.write(folder, modules)
    return folder


@pytest.fixture
def exported(monkeypatch, of_images):
    """Pushing takes the export of this module, which is made once."""
    monkeypatch.setattr(
        space, "export", lambda run, out: Export(shutil.copytree(of_images, out), {})
    )


@needs_chromium
def test_a_space_is_pushed_once_it_has_answered_as_the_run_did(
    finished_run, exported, modules, hub
):
    for _ in range(2):
        address = space.publish_space(finished_run, "alice/colours", node_modules=modules)
    assert address == f"{hub.url}/spaces/alice/colours"
    repository = hub.repositories["spaces", "alice/colours"]
    assert repository.titles == ["tiny-colours, full: a page that answers", "initial commit"]
    assert repository.sdk == "static"
    files = hub.files("alice/colours", kind="spaces")
    assert set(files) == {
        *("index.html", "page.js", "answer.js", "pixels.js", "ngrams.js", "page.json"),
        *("model.onnx", "README.md", ".gitattributes", *RUNTIME),
    }
    head, text = files["README.md"].decode().split("---\n")[1:]
    assert yaml.safe_load(head)["sdk"] == "static"
    assert yaml.safe_load(head)["title"] == "colours"
    assert "was opened in Chromium: it predicts" in text
    assert json.loads(files["page.json"])["title"] == "colours"


def test_files_of_an_earlier_page_go_and_others_stay(finished_run, exported, modules, hub):
    files = {"tokens.js": b"old", "notes.md": b"mine"}
    hub.add("alice/colours", files, kind="spaces", sdk="static")
    space.publish_space(finished_run, "alice/colours", checked=False, node_modules=modules)
    there = hub.files("alice/colours", kind="spaces")
    assert "tokens.js" not in there
    assert there["notes.md"] == b"mine"
    assert "was not checked" in there["README.md"].decode()


@needs_chromium
def test_a_page_that_answers_otherwise_is_not_pushed(
    finished_run, exported, modules, hub, tmp_path, monkeypatch
):
    wrong = shutil.copytree(page.WEB, tmp_path / "web")
    text = (wrong / "answer.js").read_text()
    spoilt = text.replace("names[largest(logits)]", "names[(largest(logits) + 1) % names.length]")
    assert spoilt != text
    (wrong / "answer.js").write_text(spoilt)
    monkeypatch.setattr(page, "WEB", wrong)
    with pytest.raises(VerificationError, match="otherwise in Chromium"):
        space.publish_space(finished_run, "alice/colours", node_modules=modules)
    assert ("spaces", "alice/colours") not in hub.repositories


@needs_chromium
def test_a_page_that_does_not_answer_says_why(of_images, finished_run, tmp_path):
    broken = shutil.copytree(of_images, tmp_path / "broken")
    (broken / "model.onnx").unlink()
    about = open_export(of_images).about
    with pytest.raises(VerificationError, match=r"model\.onnx cannot be loaded"):
        answers_in_browser(broken, ["x.png"], about)


def test_without_chromium_nothing_is_pushed_unless_it_is_asked_for(
    finished_run, hub, monkeypatch, capsys
):
    monkeypatch.setattr(browser, "find_chromium", lambda: None)
    assert main(["push", str(finished_run), "alice/colours", "--space"]) == MachineError.exit_status
    assert "install chromium, or push without the check by --unchecked" in capsys.readouterr().err
    assert not hub.repositories


@pytest.mark.parametrize(
    "words", [["--unchecked"], ["--space", "--revision", "x"], ["--space", "--baseline", "x"]]
)
def test_what_has_no_meaning_is_refused(words, finished_run, capsys):
    assert main(["push", str(finished_run), "alice/colours", *words]) == HubError.exit_status
    assert "Space" in capsys.readouterr().err


@needs_chromium
def test_texts_are_cut_into_tokens_in_the_browser_as_by_the_run(checkpoint, tmp_path, modules):
    """Also longer ones than the model reads, of which the last token stays."""
    recipe = recipe_for(write(tmp_path, make_rows()), checkpoint("bert"))
    recipe = recipe.override({"task.max_length": 8})
    finetune(recipe, tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "export").folder
    about = page.write(folder, modules)
    texts = [
        "apple and iron",
        "gold " * 30,
        "",
        "unknown, words!",
        "pear plum cherry iron gold tin",
    ]
    found = [one["scores"] for one in answers_in_browser(folder, texts, about)]
    assert np.abs(np.array(found) - open_export(folder).answer(texts).scores).max() < 1e-5
    assert set(TEXTS) <= {file.name for file in folder.iterdir()}


def test_a_file_of_npm_that_is_another_is_refused(tmp_path):
    for file in RUNTIME.values():
        path = tmp_path / file.package / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"other")
    with pytest.raises(MachineError, match="is not that of onnxruntime-web"):
        npm_files.files_of(RUNTIME, tmp_path)


def test_without_npm_a_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(npm_files.shutil, "which", lambda name: None)
    with pytest.raises(MachineError, match="there is no npm here"):
        npm_files.files_of(RUNTIME)


ABOUT = About(reads="text", tells="class", task="text-classification", classes=("a", "b"))


def measured(**columns):
    N = len(columns["prediction"])
    return Measured([str(n) for n in range(N)], np.arange(N), columns, "", None, None)


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ({"tells": "class"}, {"prediction": "b", "scores": [0.3, 0.7]}),
        ({"tells": "tags"}, {"prediction": ["b"], "scores": [0.3, 0.7]}),
        ({"tells": "number", "classes": ()}, {"prediction": 2.5, "scores": [2.5]}),
        ({"tells": "words"}, {"prediction": ["b", None], "scores": [[0.3, 0.7], None]}),
    ],
    ids=lambda value: value.get("tells", ""),
)
def test_answers_of_every_kind_are_held_against_the_run(told, answer, monkeypatch, tmp_path):
    about = dataclasses.replace(ABOUT, **told)
    monkeypatch.setattr(space, "answers_in_browser", lambda *_: [answer])
    columns = {"prediction": [answer["prediction"]], "probability": [answer["scores"]]}
    if about.tells == "words":
        columns["confidence"] = [[0.7, np.nan]]
    assert "predicts 1 test rows" in space.check(tmp_path, measured(**columns), about)
    other = {"b": "a", "2.5": 3.5}.get(str(answer["prediction"]), ["a", None])
    other = ["a"] if about.tells == "tags" else other
    with pytest.raises(VerificationError, match="1 of 1 test rows otherwise"):
        space.check(tmp_path, measured(**columns | {"prediction": [other]}), about)


def test_rows_that_a_browser_cannot_read_are_said(monkeypatch, tmp_path):
    answers = [{"error": "no"}, {"prediction": "a", "scores": [0.9, 0.1]}]
    monkeypatch.setattr(space, "answers_in_browser", lambda *_: answers)
    columns = {"prediction": ["b", "a"], "probability": [[0.1, 0.9], [0.9, 0.1]]}
    assert ", and 1 that it cannot read" in space.check(tmp_path, measured(**columns), ABOUT)
    monkeypatch.setattr(space, "answers_in_browser", lambda *_: answers[:1] * 2)
    with pytest.raises(VerificationError, match="reads none of 2 test rows"):
        space.check(tmp_path, measured(**columns), ABOUT)
