"""`ftkit export` and `ftkit predict EXPORT` as a user types them."""

import subprocess
import sys

import exports
import pytest
from conftest import make_image

from ftkit.cli.main import main
from ftkit.shipping import timing
from ftkit.shipping.export import export


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoint):
    """A run of a perceptron for tables, and its export; the same for texts."""
    timing.SECONDS, timing.ROUNDS = 0.0, 1
    found = {}
    for kind in ("ngrams", "table", "pixels"):
        folder = tmp_path_factory.mktemp(kind)
        run = exports.train(exports.recipe_of(kind, checkpoint, folder), folder / "run")
        found[kind] = run, export(run).folder
    return found


def said(capsys, *words):
    status = main([str(word) for word in words])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_run_is_exported_and_what_was_measured_is_shown(made, tmp_path, capsys):
    status, out, err = said(capsys, "export", made["table"][0], "--out", tmp_path / "a")
    assert (status, out.strip()) == (0, str(tmp_path / "a"))
    assert "proven in a fresh process without torch: 24 test rows" in err
    assert "saved model" in err
    assert "rows/s" in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["export", "nowhere"], "nowhere holds no run: there is no run.json"),
        (
            ["export", "RUN", "--to", "torchscript"],
            "--to 'torchscript': expected 'onnx' or",
        ),
        (["export", "RUN", "--margin", "2"], "--margin '2': expected less than 1"),
        (["export", "RUN"], "holds an export already; give another --out, or --overwrite"),
        (["export", "RUN", "--int8", "--out", "x"], "so few rows cannot rule it out"),
        (["predict", "EXPORT"], "what shall"),
        (["predict", "EXPORT", "gone.csv"], "gone.csv"),
    ],
)
def test_what_cannot_be_is_one_line(made, capsys, monkeypatch, tmp_path, words, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    run, folder = made["table"]
    named = {"RUN": run, "EXPORT": folder}
    status, _, err = said(capsys, *(named.get(word, word) for word in words))
    assert status in (1, 2)
    assert line in err.splitlines()[-1]
    assert err.count("error:") == 1
    assert not (tmp_path / "x").exists()


def test_a_missing_package_is_named_with_its_extra(made, capsys, monkeypatch):
    monkeypatch.setattr("ftkit.exported.engines.find_spec", lambda name: None)
    status, _, err = said(capsys, "export", made["table"][0], "--overwrite")
    assert status == 1
    assert "the package onnx is missing: pip install 'ftkit[export]'" in err


@pytest.mark.parametrize(
    ("kind", "words", "header", "lines"),
    [
        ("ngrams", ["the red sky", "fire is fire"], "index,text,prediction,p(cold),p(warm)", 3),
        ("pixels", ["photos"], "index,image,prediction,p(blue),p(green),p(red)", 4),
        ("pixels", ["photos/*.png"], "index,image,prediction,p(blue),p(green),p(red)", 4),
    ],
)
def test_the_first_answer_needs_neither_torch_nor_what_reads_data(
    made, tmp_path, kind, words, header, lines
):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        make_image("red", number).save(tmp_path / "photos" / f"{number}.png")
    code = (
        "import sys; from ftkit.cli.main import main; status = main(sys.argv[1:]); "
        "loaded = {'torch', 'transformers', 'datasets', 'pandas', 'pydantic'} & set(sys.modules); "
        "sys.exit(f'{status} {sorted(loaded)}' if loaded or status else 0)"
    )
    words = ["predict", str(made[kind][1]), *words]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == header
    assert len(done.stdout.splitlines()) == lines


def test_the_folder_that_one_is_in_may_be_written(made, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert said(capsys, "export", made["table"][0], "--unproven", "--out", ".")[0] == 0
    assert (tmp_path / "here" / "export.json").is_file()


def test_tables_with_labels_have_their_figures(made, capsys):
    run, folder = made["table"]
    rows = run.parent / "table.csv"
    first, second = (said(capsys, "predict", where, rows) for where in (run, folder))
    assert first[0] == second[0] == 0
    assert first[1].splitlines()[0] == second[1].splitlines()[0]
    assert [line for line in second[2].splitlines() if line.startswith("accuracy")]
    figures = [
        [line for line in one[2].splitlines() if " on 120 rows" in line] for one in (first, second)
    ]
    assert figures[0] == figures[1]
    assert figures[0]
