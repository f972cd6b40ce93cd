"""Names of classes in pictures and cards: whole, short, and never taken for anything else."""

import json
import re
import warnings

import numpy as np
import pytest

from ftkit.runs.plots import (
    drawable,
    plot_confusion,
    plot_learning_curve,
    plot_precision_recall,
)
from ftkit.tasks.wording import listed


def test_a_name_that_the_font_lacks_is_its_number():
    names = ["plain", "日本語", "ÄÖ", "a\nb", "$x^2$", "long " * 20]
    assert drawable(names, range(6)) == [
        "plain",
        "class 1",
        "ÄÖ",
        "a b",
        r"\$x^2\$",
        "long long long long lon…",
    ]


@pytest.mark.parametrize("kind", ["confusion", "bars"])
def test_no_name_makes_a_picture_warn(kind, tmp_path):
    names = ("日本語", "$\\nothing{", "x" * 300, "😀", "a\tb", "العربية")
    ones = np.ones(6, int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "confusion":
            plot_confusion(np.eye(6, dtype=int), names, tmp_path / "picture.png", "title")
        else:
            plot_precision_recall(ones, ones, ones, names, tmp_path / "picture.png", "title")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_names_of_classes_stay_as_they_are_in_markdown():
    names = ("*x*", "<b>", "yes|maybe", "a_b_c", "[l](u)", "`c`", "two\nlines", "c#", "a\\b")
    text = listed(names)
    assert not re.search(r"(?<!\\)(?:\\\\)*[*<>|`_\[\]#]", text)
    assert re.sub(r"\\(.)", r"\1", text) == ", ".join(names).replace("\n", " ")


@pytest.mark.parametrize("points", [1, 2])
def test_a_learning_curve_of_a_single_point_is_not_drawn(points, tmp_path):
    lines = [{"epoch": n, "loss": 0.5, "validation_loss": 0.4} for n in range(points)]
    journal = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "log.jsonl").write_text(journal, encoding="utf-8")
    file = tmp_path / "curve.png"
    drawn = plot_learning_curve(tmp_path, file, "title", "accuracy", "cross-entropy")
    assert drawn == file.exists() == (points > 1)
