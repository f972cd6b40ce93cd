"""A report shows the figures of run.json, needs no network, and is fit for eyes and ears."""

import base64
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from browser import assert_fit
from test_compare_evidence import a_run, of_classes

from ftkit.cli.main import main
from ftkit.compare.finished_runs import read_runs
from ftkit.compare.report import classes, write
from ftkit.compare.report.charts import Line, Point, costs, curves
from ftkit.compare.summary import summarize


@pytest.fixture(scope="module")
def runs(finished_run, tiny_recipe, tmp_path_factory):
    """Two real runs: of the tiny recipe, and of a perceptron on the same rows."""
    folder = tmp_path_factory.mktemp("report")
    file = folder / "tiny.json"
    file.write_text(tiny_recipe.to_json())
    shutil.copytree(finished_run, folder / "out" / "tiny-colours-full-seed0")
    words = ["compare", str(file), "--strategies", "mlp,full", "--out", str(folder / "out")]
    assert main(words) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def page(runs):
    return (runs / "report.html").read_text(encoding="utf-8")


class Cells(HTMLParser):
    """The rows of every table, as texts."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def test_the_figures_are_those_of_run_json(runs, page):
    rows = {row[0]: row for row in Cells(page).rows if row and re.search(r"\[", row[1])}
    markdown = (runs / "report.md").read_text(encoding="utf-8")
    values = json.loads((runs / "comparison.json").read_text())
    assert [row["label"] for row in values["rows"]] == ["mlp", "full"]
    for row in values["rows"]:
        (run,) = row["runs"]
        measured = json.loads((Path(run["folder"]) / "run.json").read_text())
        accuracy = measured["metrics"]["accuracy"]
        assert row["score"] == accuracy
        shown = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**accuracy)
        assert rows[row["label"]][1] == shown
        assert shown in markdown
        assert row["trained"] == measured["parameters_trained"]
        assert row["model_bytes"] == measured["model_bytes"]
        assert row["latency"] == measured["latency_seconds"]
        spent = measured["seconds"]["features"] + measured["seconds"]["train"]
        assert row["seconds"] == pytest.approx(spent)
    assert values["verdict"] in html.unescape(page)
    assert values["verdict"] in markdown


def test_it_needs_nothing_else(runs, page):
    found = re.findall(r"""(?:src|href)=["']([^"']*)|url\(([^)]*)""", page)
    assert all(one.startswith("data:") for pair in found for one in pair if one)
    assert "<script" not in page
    assert len(page) < 3_000_000
    for picture in re.findall(r"\]\((report/[^)]*)\)", (runs / "report.md").read_text()):
        assert "prefers-color-scheme" in (runs / picture).read_text()


def test_it_shows_what_is_wrong_as_an_image(runs):
    (run,) = read_runs([runs / "tiny-colours-full-seed0"])
    table = pq.read_table(run.folder / "predictions.parquet")
    truth, told = classes.answers(table)
    examples = classes.wrong_examples(table, run).examples
    assert len(examples) == min(classes.EXAMPLES, int((truth != told).sum()))
    for example in examples:
        assert base64.b64decode(example.image.partition("base64,")[2])[:4] in (
            b"\x89PNG",
            b"\xff\xd8\xff\xe0",
        )
        label, _, prediction = example.said.partition(", taken for ")
        assert label != prediction.partition(" ")[0]
    sure = [float(example.said[-5:-1]) for example in examples]
    assert sorted(sure, reverse=True) == sure


def test_calibration_by_hand():
    """Two bins: ten sure of 0.95 and right nine times, ten sure of 0.55 and right all times."""
    confidence = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 10)
    bins, error = classes.calibration(confidence, right)
    assert bins == (
        (pytest.approx(0.55), 1.0, 10),
        (pytest.approx(0.95), pytest.approx(0.9), 10),
    )
    assert error == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)


def test_probabilities_of_0_and_1_alone_have_no_calibration():
    """The single nearest neighbour tells one class for sure."""
    picture = classes.reliability("knn", np.ones(40), np.arange(40) < 30)
    assert picture.caption == (
        "knn: every probability that it gives is 0 or 1, so there is no calibration to measure"
    )
    assert picture.svg == ""


@pytest.mark.parametrize("n", [90, 360])
def test_the_error_of_perfect_calibration_is_that_of_chance(n):
    """One sample in twenty is beyond what chance gives, whatever the rows."""
    random, beyond, seen = np.random.default_rng(0), 0, []
    for _ in range(200):
        confidence = random.beta(8, 1, n).clip(0.5, 0.999)
        right = random.random(n) < confidence
        seen.append(classes.calibration(confidence, right)[1])
        if len(seen) <= 60:
            usual, most = classes.error_by_chance(confidence)
            beyond += seen[-1] > most
    assert usual == pytest.approx(np.mean(seen), rel=0.15)
    assert beyond <= 9
    unsure = classes.reliability("head", confidence, random.random(n) < confidence - 0.3)
    assert ", more than chance" in unsure.caption


def test_names_cannot_break_the_page(tmp_path):
    evil = '<script>alert("x")</script>|'
    runs = [
        a_run(tmp_path, "a<b|c", of_classes(np.arange(50) < 40), dataset=evil),
        a_run(tmp_path, "full", of_classes(np.arange(50) < 45), dataset=evil),
    ]
    page, markdown = (file.read_text() for file in write(summarize(runs), tmp_path / "out"))
    assert "<script" not in page
    assert "a&lt;b|c" in page
    assert "a<b\\|c" in markdown


def test_a_chart_of_costs_marks_the_front_and_keeps_outliers_at_the_edge():
    points = [
        Point("majority", 0, 0.1, 0.08, 0.12, True),
        Point("head", 5, 0.95, 0.93, 0.97, True),
        Point("lora", 90, 0.94, 0.92, 0.96, False),
        Point("full", 99, 0.99, 0.98, 1.0, True),
    ]
    chart = costs(points, "seconds", "accuracy")
    assert chart.count('fill="var(--paper)"') == 1
    assert "majority 0.100" in chart
    assert ">head<" in chart
    assert 'role="img"' in chart
    assert "lora: accuracy 0.940 at seconds 90;" in chart


def test_curves_name_every_line():
    lines = [Line(f"line {n}", (1.0, 10.0), (0.5, 0.9)) for n in range(10)]
    chart = curves(lines, "seconds", "accuracy")
    assert all(f">line {n}<" in chart for n in range(10))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390)])
def test_an_audit_in_a_browser_finds_nothing(page, tmp_path, scheme, width):
    assert_fit(page, tmp_path, scheme, width)


def pairs_tested(page):
    return [row[0] for row in Cells(page).rows if row and " less " in row[0]]


@pytest.mark.parametrize(
    ("best", "pairs"),
    [
        ("knn", ["knn less majority", "knn less head", "head less majority"]),
        ("majority", ["majority less knn", "majority less head"]),
    ],
)
def test_no_pair_of_strategies_stands_twice_in_the_paired_tests(tmp_path, best, pairs):
    right = {"majority": 30, "knn": 40, "head": 36} | {best: 45}
    runs = [a_run(tmp_path, name, of_classes(np.arange(50) < n)) for name, n in right.items()]
    found = summarize(runs)
    assert (found.best, found.baseline) == (best, "majority")
    for file in write(found, tmp_path / "out"):
        text = file.read_text(encoding="utf-8")
        there = pairs_tested(text) or re.findall(r"^\| ([^|]* less [^|]*) \|", text, re.MULTILINE)
        assert there == pairs


@pytest.mark.parametrize("validations", [1, 2])
def test_learning_curves_of_single_points_are_left_out(tmp_path, validations):
    runs = [
        a_run(tmp_path, name, of_classes(np.arange(50) < n)) for name, n in (("a", 9), ("b", 8))
    ]
    lines = [{"seconds": n + 1.0, "validation_accuracy": 0.5} for n in range(validations)]
    journal = "".join(json.dumps(line) + "\n" for line in lines)
    (runs[0].folder / "log.jsonl").write_text(journal, encoding="utf-8")
    for file in write(summarize(runs), tmp_path / "out"):
        assert ("Learning curves" in file.read_text(encoding="utf-8")) == (validations > 1)
