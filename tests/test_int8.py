"""A file of eight bits is taken only where a test on the test rows says that it is as good."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from exports import recipe_of, train

from ftkit import VerificationError
from ftkit.exported.about import About
from ftkit.exported.model import Answers, open_export
from ftkit.recipe import ImageClassification
from ftkit.shipping import timing
from ftkit.shipping.export import How, export
from ftkit.shipping.noninferiority import difference_of, rows_needed
from ftkit.shipping.rows import Measured

ABOUT = About(reads="images", tells="class", task="image-classification", classes=("a", "b"))


def difference(N, lost=0, won=0):
    """Return the difference where the run is wrong of `won` rows, and the file of `lost` others."""
    truth = np.zeros(N, int)
    run, file = truth.copy(), truth.copy()
    run[:won], file[won : won + lost] = 1, 1
    names = np.array(["a", "b"])
    columns = {"label": names[truth].tolist(), "prediction": names[run].tolist()}
    task = SimpleNamespace(settings=ImageClassification(label="x"))
    measured = Measured([None] * N, np.arange(N), columns, "", None, task)
    logits = np.eye(2)[file]
    return difference_of(measured, Answers(logits, logits), ABOUT)


@pytest.mark.parametrize(
    ("N", "lost", "won", "passes"),
    [
        (200, 0, 0, False),  # alike, but too few rows to say so
        (300, 0, 0, True),
        (1000, 5, 5, True),
        (1000, 10, 0, False),
        (5000, 20, 0, True),
        (5000, 60, 0, False),
        (5000, 0, 60, True),
    ],
)
def test_worse_by_the_margin_is_ruled_out_or_not(N, lost, won, passes):
    found = difference(N, lost, won)
    assert found.difference == pytest.approx((won - lost) / N)
    assert found.within(0.01) is passes


def test_so_many_rows_are_needed_where_all_are_answered_alike():
    for margin in (0.01, 0.02, 0.05):
        needed = rows_needed(margin)
        assert difference(needed).within(margin)
        assert not difference(needed - 2).within(margin)


def test_worse_files_pass_seldom():
    """Of files that are worse by just the margin, 2.5 in 100 pass."""
    draw, passed = np.random.default_rng(0), 0
    for _ in range(400):
        lost, won = draw.multinomial(2000, [0.04, 0.02, 0.94])[:2]
        passed += difference(2000, lost, won).within(0.02)
    assert passed <= 20


@pytest.fixture(scope="module")
def runs(tmp_path_factory, checkpoint):
    timing.SECONDS, timing.ROUNDS = 0.0, 1
    found = {}
    for kind in ("vit", "distilbert", "table"):
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = train(recipe_of(kind, checkpoint, folder), folder / "run")
    return found


@pytest.mark.parametrize("kind", ["vit", "distilbert", "table"])
def test_files_of_eight_bits_say_so_and_answer(runs, kind):
    found = export(runs[kind], how=How(int8=True, margin=0.9, overwrite=True))
    record = json.loads((found.folder / "export.json").read_text())
    assert record["precision"] == "int8" == open_export(found.folder).about.precision
    assert record["proof"]["other_predictions"] == 0  # of the file of float32
    assert record["int8"]["low"] > -0.9 == -record["int8"]["margin"]
    assert {"saved model", "onnx", "onnx, int8"} <= set(record["speed"])


def test_where_it_is_not_proven_nothing_is_left(runs, tmp_path):
    with pytest.raises(VerificationError, match=r"so few rows cannot rule it out.*276 can"):
        export(runs["vit"], tmp_path / "out", How(int8=True))
    assert list(tmp_path.iterdir()) == []
