"""Each kind of task shows in a report what there is to see of it, with the figures of others."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import assert_fit
from sacrebleu.metrics import CHRF
from seqeval.metrics import classification_report
from sklearn.metrics import mean_absolute_error, multilabel_confusion_matrix
from test_compare import make

from ftkit import Backbone, Data, Recipe, TextClassification
from ftkit.compare.finished_runs import Run
from ftkit.compare.report import write
from ftkit.compare.report.shown_rows import inputs_of
from ftkit.compare.summary import summarize
from ftkit.registry import find
from ftkit.runs.result import Measured
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits

N = 60
SENTENCES = ("the cat sat on the mat", "a dog ran far", "birds sing in the morning", "it rains")
PLACES = ("Anna", "lives", "in", "New", "York", "now")
TRUTH = ("B-PER", "O", "O", "B-LOC", "I-LOC", "O")


def tags(random, off):
    names = ["cold", "warm", "wet"]
    truth = random.random((N, 3)) < 0.4
    probability = np.clip(np.where(truth, 0.8, 0.2) + random.normal(size=(N, 3)) * off, 0.01, 0.99)
    told = probability > 0.5
    lists = [
        [[n for n, one in zip(names, row, strict=True) if one] for row in m] for m in (truth, told)
    ]
    return {"label": lists[0], "prediction": lists[1], "probability": list(probability)}, names


def words(random, off):
    kinds = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    told = [
        [kinds[random.integers(5)] if random.random() < off else tag for tag in TRUTH]
        for _ in range(N)
    ]
    told[0][-1] = None  # the model did not see that word
    sure = [[None if tag is None else random.uniform(0.3, 1) for tag in row] for row in told]
    rows = {"tokens": [PLACES] * N, "label": [TRUTH] * N, "prediction": told, "confidence": sure}
    return rows, kinds


def numbers(random, off):
    truth = random.normal(50, 20, N)
    return {"label": truth, "prediction": truth + random.normal(size=N) * 30 * off}, []


def translations(random, off):
    reference = [SENTENCES[n % 4] for n in range(N)]
    told = [t[: max(3, int(len(t) * (1 - off * random.random())))] for t in reference]
    rows = {"source": [text.upper() for text in reference], "label": reference, "prediction": told}
    return {**rows, "loss": random.uniform(1, 2, N)}, []


def talks(random, off):
    loss = random.uniform(1, 2 + off, N)
    asked = [f"What does {text.split()[1]} mean?" for text in SENTENCES] * (N // 4)
    written = [f"{text}, {off}" if n < 3 else None for n, text in enumerate(SENTENCES * (N // 4))]
    rows = {"prompt": asked, "answer": list(SENTENCES) * (N // 4), "written": written}
    return {**rows, "tokens": [9] * N, "loss": loss, "perplexity": np.exp(loss)}, []


CASES = {
    "text-tagging": (
        tags,
        "micro_f1",
        ["Most confidently wrong", "Classes", "Confusion", "Calibration"],
    ),
    "token-classification": (
        words,
        "f1",
        ["Most confidently wrong", "Kinds of names", "Confusion", "Calibration"],
    ),
    "text-regression": (
        numbers,
        "r2",
        ["Most wrong", "Errors", "Predicted against true", "Residuals"],
    ),
    "translation": (translations, "bleu", ["Worst translations", "chrF of single sentences"]),
    "text-generation": (
        talks,
        "perplexity",
        ["Hardest texts", "Perplexity of single texts", "What they write"],
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """The kind of task, the columns of predictions of two strategies, and a report's folder."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    make_columns, figure, _ = CASES[kind]
    runs, tables = [], []
    for label, off in (("head", 0.5), ("full", 0.2)):
        columns, names = make_columns(np.random.default_rng(0), off)
        tables.append({"index": np.arange(N) + 100, **columns})
        place = folder / label
        place.mkdir()
        told = pa.table(tables[-1]).replace_schema_metadata({"label_names": json.dumps(names)})
        pq.write_table(told, place / "predictions.parquet")
        value = off if figure == "perplexity" else 1 - off
        metrics = {figure: Measured(value=value, low=value - 0.1, high=value + 0.1, method="x")}
        result = make("some-data", label, (0, 0, 0), task={"kind": kind}, metrics=metrics, n=N)
        runs.append(Run(label, place, result))
    write(summarize(runs), folder / "out")
    return kind, tables, folder / "out"


def cells(page, name):
    """The cells of the first line of that name in a Markdown file."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_section_stands_in_both_files(case):
    kind, _, out = case
    page, markdown = ((out / f"report.{end}").read_text() for end in ("html", "md"))
    for title in CASES[kind][2]:
        assert f">{title}</h2>" in page
        assert f"\n## {title}\n" in markdown
    assert "<script" not in page
    for picture in re.findall(r"\]\((report/[^)]*)\)", markdown):
        assert (out / picture).is_file()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_an_audit_of_every_kind_finds_nothing(case, tmp_path, scheme, width):
    assert_fit((case[2] / "report.html").read_text(), tmp_path, scheme, width)


def of(kind):
    return pytest.mark.parametrize("case", [kind], indirect=True)


@of("text-tagging")
def test_classes_that_a_row_may_have_are_counted_one_by_one(case):
    _, (_, best), out = case
    names = ["cold", "warm", "wet"]
    truth, told = (
        [[name in row for name in names] for row in best[column]]
        for column in ("label", "prediction")
    )
    text = (out / "report.md").read_text().partition("## Confusion")[2]
    for name, ((no, false), (missed, hits)) in zip(
        names, multilabel_confusion_matrix(truth, told), strict=True
    ):
        assert cells(text, name) == [name, *map(str, (hits, missed, false, no))]


@of("token-classification")
def test_kinds_of_names_are_scored_as_seqeval_does(case):
    _, tables, out = case
    reports = []
    for table in tables:
        truth, told = (
            [[tag or "O" for tag in row] for row in table[name]] for name in ("label", "prediction")
        )
        reports.append(classification_report(truth, told, output_dict=True, zero_division=0))
    text = (out / "report.md").read_text().partition("## Kinds of names")[2]
    for kind in ("LOC", "PER"):
        first, best = (report[kind] for report in reports)
        figures = (first["f1-score"], best["f1-score"], best["precision"], best["recall"])
        expected = [kind, str(best["support"]), *(f"{figure:.3f}" for figure in figures)]
        assert cells(text, kind) == expected


@of("text-regression")
def test_errors_of_numbers_and_the_row_that_is_furthest_off(case):
    _, (_, best), out = case
    text = (out / "report.md").read_text()
    truth, told = best["label"], best["prediction"]
    found = cells(text.partition("## Errors")[2], "full")
    assert float(found[1]) == pytest.approx((told - truth).mean(), rel=1e-3)
    assert float(found[2]) == pytest.approx(mean_absolute_error(truth, told), rel=1e-3)
    row = int(np.abs(told - truth).argmax())
    assert cells(text, best["index"][row])[1].startswith(f"{truth[row]:.4g}, predicted ")


@of("translation")
def test_the_worst_translation_is_the_one_of_the_lowest_chrf(case):
    _, (_, best), out = case
    scores = [
        CHRF().sentence_score(text, [reference]).score
        for text, reference in zip(best["prediction"], best["label"], strict=True)
    ]
    row = int(np.argmin(scores))
    text = (out / "report.md").read_text()
    worst = cells(text.partition("## Worst translations")[2], best["index"][row])
    assert worst[1] == f"chrF {scores[row]:.1f}"
    assert best["prediction"][row] in worst[2]
    spread = cells(text.partition("## chrF of single")[2], "full")
    assert float(spread[3]) == pytest.approx(np.median(scores), rel=1e-3)


@of("text-generation")
def test_answers_stand_beside_each_other(case):
    text = (case[2] / "report.md").read_text().partition("## What they write")[2]
    told = cells(text, 100)[2]
    for part in ("prompt: What does cat mean?", "answer: the cat", "head: ", "full: "):
        assert part in told


def shown(folder, recipe):
    """What a report shows of the last test row, and that row."""
    (folder / "recipe.json").write_text(recipe.to_json())
    test = load_splits(recipe.data, task_of(recipe.task)).test
    number = test["index"][-1]
    run = Run("full", folder, make("some-data", "full", (0, 0, 0)))
    return inputs_of(run, [number])[number]["texts"], test[len(test) - 1]


def test_a_row_of_a_table_is_shown_with_the_names_of_its_columns(tmp_path):
    ((_, text),), row = shown(tmp_path, find("mlp-diabetes"))
    age, sex, *_ = row["features"]
    assert text.startswith(f"age {age:g}, sex {sex:g}, bmi ")


def test_both_texts_of_a_pair_are_shown(tmp_path):
    rows = [{"one": f"text {n}", "two": f"other {n}", "label": "ab"[n % 2]} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = Recipe(
        name="pairs",
        data=Data(path=str(tmp_path / "pairs.jsonl")),
        backbone=Backbone(id="embedded:minilm-l6"),
        task=TextClassification(text="one", pair="two"),
    )
    texts, row = shown(tmp_path, recipe)
    assert texts == (("first", row["text"]), ("second", row["pair"]))
