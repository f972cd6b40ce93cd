"""An exported file answers as its run did, whatever goes in and whatever comes out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import exports
import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from ftkit import DataError, ModelError, RunError, VerificationError
from ftkit.exported.about import KEY, About
from ftkit.exported.model import open_export
from ftkit.prediction.predict import predict
from ftkit.shipping.export import How, export

EVERY = (*exports.KINDS, *exports.TABLES, "pixels", "ngrams")


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """A function from a kind to (its run, its export), each made once."""
    from ftkit.shipping import timing

    timing.SECONDS, timing.ROUNDS = 0.0, 1  # speed is no matter here
    made = {}

    def make(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(f"export-{kind}")
            recipe = exports.recipe_of(kind, checkpoint, folder)
            run = exports.train(recipe, folder / "run")
            made[kind] = run, export(run, how=How())
        return made[kind]

    return make


def stored(run):
    return pd.read_parquet(run / "predictions.parquet")


def differences(stored, columns):
    """Return the largest difference of probabilities or numbers of two sets of answers."""
    for name in ("probability", "confidence"):
        if name in stored:
            pairs = zip(stored[name], columns[name], strict=True)
            both = [np.array([list(a), list(b)], float) for a, b in pairs if len(a)]
            return max(float(np.nanmax(np.abs(a - b))) for a, b in both)
    return float(np.abs(stored["prediction"] - np.array(columns["prediction"])).max())


@pytest.mark.parametrize("kind", EVERY)
def test_the_file_answers_every_test_row_as_the_run_did(exported, kind):
    run, found = exported(kind)
    proof = found.record["proof"]
    assert proof["other_predictions"] == 0
    assert proof["rows"] == len(stored(run))
    assert proof["largest_difference"] < 1e-4
    assert {path.name for path in found.folder.iterdir()} >= {"export.json", "recipe.json"}
    data = exports_data(run)
    answers = predict(found.folder, [str(data)]).columns
    wanted = predict(run, [str(data)]).columns
    assert list(answers) == list(wanted)
    told = [list(map(str, one["prediction"])) for one in (answers, wanted)]
    if found.record["file"] and "number" not in kind and kind not in ("resnet", "roberta"):
        assert told[0] == told[1]
    assert differences(pd.DataFrame({k: list(v) for k, v in wanted.items()}), answers) < 1e-3


def exports_data(run):
    return json.loads((run / "recipe.json").read_text())["data"]["path"]


@pytest.mark.parametrize("kind", ["vit", "distilbert", "table"])
def test_the_file_says_what_it_is(exported, kind):
    run, found = exported(kind)
    file = found.folder / found.record["file"]
    told = {one.key: one.value for one in onnx.load(str(file)).metadata_props}
    about = About.from_json(told[KEY], "file")
    recorded = json.loads((run / "run.json").read_text())
    assert about.task == recorded["task"]["kind"]
    assert dict(about.model_sha256) == recorded["model_sha256"]
    assert about == open_export(found.folder).about == open_export(file).about
    assert set(about.inputs) == {one.name for one in onnx.load(str(file)).graph.input}
    if kind == "vit":
        assert about.classes == ("blue", "green", "red")
        assert about.inputs == {"image": "uint8 [batch, height, width, 3]"}
    if kind == "table":
        assert [column.name for column in about.columns] == ["width", "colour", "day", "gap"]
        assert about.columns[1].words == ("blue", "green", "red")


def test_nothing_but_what_an_export_needs_is_needed(exported, tmp_path):
    """The whole environment is the standard library and links to these packages."""
    lean = tmp_path / "lean"
    lean.mkdir()
    site = Path(np.__file__).parents[1]
    needs = ("numpy", "PIL", "pillow.libs", "onnxruntime", "tokenizers", "numpy.libs")
    also = ("flatbuffers", "google", "packaging")  # of onnxruntime
    for name in (*needs, *also):
        if (site / name).exists():
            (lean / name).symlink_to(site / name)
    (lean / "ftkit").symlink_to(Path(__file__).parents[1] / "ftkit")
    code = (
        "import sys, json; sys.path[:0] = [sys.argv[1]]; "
        "from ftkit.exported.model import open_export, columns_of; "
        "e = open_export(sys.argv[2]); "
        "a = e.answer(json.loads(sys.argv[3])); "
        "print(json.dumps([list(map(str, columns_of(e.about, a)['prediction'])), "
        "sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    rows = {
        "vit": [exports_rows(exported, "vit")[0]["image"]],
        "distilbert": [["the", "red", "sky"]],
        "ngrams": ["the red sky"],
        "table": [{"width": 1.0, "colour": "red", "day": 2, "gap": None}],
    }
    for kind, given in rows.items():
        words = [sys.executable, "-I", "-S", "-c", code, str(lean)]
        words += [str(exported(kind)[1].folder), json.dumps(given)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        told, modules = json.loads(done.stdout)
        assert len(told) == 1
        assert not {"torch", "transformers", "datasets", "pandas", "pydantic"} & set(modules)


def exports_rows(exported, kind):
    lines = Path(exports_data(exported(kind)[0])).read_text().splitlines()
    return [json.loads(line) for line in lines]


def odd_photos(folder):
    """Write the images that people have; return their files."""
    draw = np.random.default_rng(0)
    photo = Image.fromarray(draw.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    large = photo.resize((4000, 3000), Image.Resampling.BICUBIC)
    large.save(folder / "large.jpg", quality=90)
    small = photo.resize((200, 150), Image.Resampling.BICUBIC)
    small.convert("L").save(folder / "grey.png")
    small.convert("RGBA").save(folder / "rgba.png")
    alpha = small.convert("RGBA")
    alpha.putalpha(Image.fromarray(draw.integers(0, 256, (150, 200), dtype=np.uint8)))
    alpha.save(folder / "alpha.png")
    small.convert("CMYK").save(folder / "cmyk.jpg")
    deep = draw.integers(0, 65536, (150, 200), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(folder / "rotated.jpg", exif=exif)
    small.convert("P").save(folder / "palette.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("kind", ["vit", "timm-efficientnet", "pixels"])
def test_photos_of_all_kinds_are_answered_as_by_the_run(exported, tmp_path, kind):
    run, found = exported(kind)
    files = [str(file) for file in odd_photos(tmp_path)]
    wanted, answers = (predict(where, files).columns for where in (run, found.folder))
    assert answers["prediction"].tolist() == wanted["prediction"].tolist()
    assert np.abs(np.stack(answers["probability"]) - np.stack(wanted["probability"])).max() < 1e-4


@pytest.fixture
def wrong_body(monkeypatch):
    """Exported models whose weights have moved."""
    from ftkit.shipping import parts

    before = parts.body_of_network

    def moved(network, name):
        network.parameters += 0.05
        return before(network, name)

    monkeypatch.setattr(parts, "body_of_network", moved)


def test_a_file_that_answers_otherwise_is_not_left(exported, wrong_body, tmp_path):
    run, _ = exported("pixels")
    with pytest.raises(VerificationError, match=r"does not answer as the run did.*; rows \d+"):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_the_resizing_it_is_said(exported, monkeypatch, tmp_path):
    from ftkit.shipping import export as main
    from ftkit.shipping import image_graph

    monkeypatch.setattr(main, "require_same_pixels", lambda *_: None)
    before = image_graph.resize

    def smooth(graph, levels, height, width, by, like_pillow, rows_first=True):
        return before(graph, levels, height, width, "lanczos", like_pillow, rows_first)

    monkeypatch.setattr(image_graph, "resize", smooth)
    with pytest.raises(VerificationError, match="the reason is the resizing, where"):
        export(exported("vit")[0], tmp_path / "out", How(tolerance=1e-9))


def test_a_processor_that_the_graph_cannot_follow_is_refused(exported, monkeypatch, tmp_path):
    from ftkit.shipping import image_graph

    before = image_graph.resize

    def linear(graph, levels, height, width, by, like_pillow, rows_first=True):
        return before(graph, levels, height, width, "lanczos", like_pillow, rows_first)

    monkeypatch.setattr(image_graph, "resize", linear)
    with pytest.raises(ModelError, match="cannot be put into the file: of one of 8x8 pixels"):
        export(exported("vit")[0], tmp_path / "out")


def test_an_export_takes_nobodys_place(exported, tmp_path):
    run, _ = exported("pixels")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no export"):
        export(run, tmp_path / "mine", How(overwrite=True))
    with pytest.raises(RunError, match="holds an export already; give another --out, or --over"):
        export(run)
    again = export(run, how=How(overwrite=True))
    assert again.record["proof"]["other_predictions"] == 0
    assert [path.name for path in again.folder.parent.iterdir()] == ["onnx"]


def test_rows_that_are_gone_or_others_are_named(exported, tmp_path):
    run, _ = exported("table")
    moved = tmp_path / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("export"))
    recipe = json.loads((moved / "recipe.json").read_text())
    lines = Path(recipe["data"]["path"]).read_text().splitlines()
    recipe["data"]["path"] = str(tmp_path / "gone.csv")
    (moved / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(DataError, match=r"cannot be had: .*give them by --data, or .*--unproven"):
        export(moved)
    unproven = export(moved, tmp_path / "unproven", How(proven=False))
    assert unproven.record["proof"] is None
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(lines) + "\n")
    assert export(moved, how=How(data=str(rows))).record["proof"]["other_predictions"] == 0
    rows.write_text("\n".join(lines[:-20]) + "\n")
    with pytest.raises(RunError, match="which are others"):
        export(moved, tmp_path / "other", How(data=str(rows)))


def test_a_model_that_writes_is_told_which_tool_exports_it(checkpoint, tmp_path):
    from ftkit import Recipe, Translation
    from ftkit.shipping.parts import take

    recipe = Recipe(name="t", data={"path": "x.csv"}, backbone={"id": str(checkpoint("t5"))},
                    task=Translation(source="a", target="b"))  # fmt: skip
    with pytest.raises(ModelError, match="optimum-cli export openvino"):
        take(recipe, tmp_path, ())


def test_damage_is_told_in_one_line(exported, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported("bert")[1].folder, copy)
    record = json.loads((copy / "export.json").read_text())
    del record["sha256"]  # as if nobody had noted what the files were
    (copy / "export.json").write_text(json.dumps(record))
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        open_export(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is gone"):
        open_export(copy)
    file = copy / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded"):
        open_export(copy)
    file.unlink()
    with pytest.raises(RunError, match=r"model\.onnx is gone"):
        open_export(copy)
    (copy / "export.json").write_text("[]")
    with pytest.raises(ModelError, match="is not the record of an export"):
        open_export(copy)


def test_a_file_that_has_changed_since_its_proof_is_refused(exported, tmp_path):
    _, found = exported("table")
    for name in ("model.onnx", "recipe.json"):
        copy = tmp_path / name
        shutil.copytree(found.folder, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ModelError, match="has changed: it is not the one that was proven"):
            open_export(copy)
        with pytest.raises(ModelError, match="has changed"):
            open_export(copy / "model.onnx")


@pytest.mark.parametrize(
    ("wanted", "told", "wrong"),
    [
        ([1e-4, 3e-4, 2e-4], [1.9e-4, 3.9e-4, 2.9e-4], 3),  # small numbers
        ([1e6, 1.0, 2.0, 3.0], [1e6, 1.0, 2.0, 3.0], 0),
        ([1e6 + 1, 1e6 + 2, 1e6 + 3], [1e6 + 1.5, 1e6 + 2, 1e6 + 3], 0),  # float32 holds no more
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.001], 1),
    ],
)
def test_numbers_are_held_against_how_far_they_are_apart(wanted, told, wrong):
    from ftkit.exported.model import Answers
    from ftkit.shipping.proof import compared
    from ftkit.shipping.rows import Measured

    about = About(reads="table", tells="number", task="tabular-regression")
    rows = [None] * len(wanted)
    measured = Measured(rows, np.arange(len(wanted)), {"prediction": wanted}, "", None, None)
    found = compared(measured, Answers(np.array(told)[:, None], np.array(told)), about)
    assert int(found.wrong.sum()) == wrong


def test_it_is_said_how_many_texts_are_cut_off(exported, caplog):
    run, found = exported("roberta")
    words = " ".join(["word"] * 200)
    caplog.set_level("INFO")
    for where in (run, found.folder):
        caplog.clear()
        predict(where, ["a text", words])
        assert "test: 50.0 % of the texts are longer than 64 tokens" in caplog.text


def test_another_onnx_file_is_refused(tmp_path):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [other])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="was not exported by ftkit"):
        open_export(tmp_path / "a.onnx")
