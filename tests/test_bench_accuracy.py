"""scripts/bench_accuracy.py: which rows are drawn, what is run again, and what the table says.

The tools themselves run by `bash scripts/peers.sh` and `python scripts/bench_accuracy.py`, which
take hours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import bench_accuracy
from bench_accuracy import Cell, read, rows_of, seconds_of_ftkit, still_to_run
from bench_accuracy_peers import Clock, steps_of_an_epoch
from bench_accuracy_report import BEGIN, END, Answers, cells_of, table, verdict, write_report
from measure_contrastive import draw

N = 1_000


def answers(tool, accuracy, seed=0, rows=5, told="as usual", random=0):
    """What a tool gives that is right on this share of rows, drawn anew for each tool."""
    drawn = np.random.default_rng([seed, rows, random, len(tool)]).random(N) < accuracy
    return Answers("news", rows, seed, tool, 60.0, told, "".join("01"[int(hit)] for hit in drawn))


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "news"
    place.mkdir()
    features = Features(
        {"idx": Value("int64"), "text": Value("string"), "label": ClassLabel(names=["a", "b"])}
    )
    for split, n in (("train", 40), ("test", 30)):
        rows = {"idx": range(n), "text": [f"{split} {i}" for i in range(n)]}
        rows["label"] = [i % 4 == 0 for i in range(n)]
        Dataset.from_dict(rows, features=features).to_parquet(place / f"{split}.parquet")
    return place


def test_a_draw_has_so_many_rows_of_each_class_and_another_seed_draws_others(folder):
    train, _, kind = rows_of(folder, 20)
    assert (kind, train.column_names) == ("texts", ["text", "label"])
    drawn = [draw(train, "label", 5, seed) for seed in (0, 0, 1)]
    assert [sorted(rows["label"]) for rows in drawn] == [[0] * 5 + [1] * 5] * 3
    assert drawn[0]["text"] == drawn[1]["text"] != drawn[2]["text"]
    assert len(draw(train, "label", len(train), 0)) == 40


def test_test_rows_are_the_same_in_every_cell(folder):
    first, again = (rows_of(folder, 20)[1] for _ in range(2))
    assert first["text"] == again["text"]
    assert len(set(first["text"])) == 20
    assert len(rows_of(folder, 2_000)[1]) == 30


def test_finished_cells_are_not_run_again():
    cells = [Cell("news", 5, seed, tool) for seed in (0, 1) for tool in ("ftkit", "probe")]
    found = [answers("ftkit", 0.8), answers("probe", 0.8, seed=1), answers("setfit", 0.8)]
    assert still_to_run(cells, found, N) == [cells[1], cells[2]]
    assert still_to_run(cells, found, N + 1) == cells  # other test rows


def test_results_survive_a_line_that_was_cut_off(tmp_path, capsys):
    file, one = tmp_path / "results.jsonl", answers("ftkit", 0.8)
    assert read(file) == []
    line = json.dumps(one._asdict())
    file.write_text(f"{line}\n{line[:50]}\n")
    assert read(file) == [one]
    assert "left out" in capsys.readouterr().err


def test_a_peer_gets_the_seconds_that_ftkit_took_on_the_same_draw():
    found = [answers("ftkit", 0.8, seed=seed)._replace(seconds=seed + 10.0) for seed in (0, 1)]
    assert seconds_of_ftkit(Cell("news", 5, 1, "setfit"), found) == 11


def test_the_clock_of_a_peer_leaves_its_trial_out():
    clock = Clock(100)
    with clock.stopped():
        clock._begin -= 50  # so long did the trial take
    assert clock.spent < 1
    assert clock.left > 99


def test_an_epoch_of_pairs_has_as_many_steps_as_setfit_takes():
    """SetFit 1.2's own set of pairs has so many batches of 16 with 5 rows of each class."""
    assert steps_of_an_epoch(np.repeat(range(4), 5)) == 19
    assert steps_of_an_epoch(np.repeat(range(2), 5)) == 4


@pytest.mark.parametrize(
    ("own", "peer", "said", "lost"),
    [
        (0.9, 0.8, "better by 0.", 0),
        (0.8, 0.8, "cannot be told apart", 0),
        (0.8, 0.9, "worse than SetFit", 1),
    ],
)
def test_the_table_says_whether_ftkit_is_better_equal_or_worse(own, peer, said, lost):
    found = [
        answers(tool, accuracy, seed, random=tool == "setfit")
        for seed in range(3)
        for tool, accuracy in (("ftkit", own), ("setfit", peer), ("probe", 0.5))
    ]
    cells = cells_of(found)
    (cell,), line = cells, table(cells)[-1]
    assert said in line
    assert [cell.seeds, cell.n, len(cell.worse_than)] == [3, N, lost]
    mean = np.mean([each.accuracy for each in found if each.tool == "ftkit"])
    figure = cell.tools["ftkit"]
    assert figure.value == pytest.approx(mean)
    assert figure.low < mean < figure.high
    words = "\n".join(verdict(cells))
    assert f"In {1 - lost} of 1 cells" in words
    assert f"worse than a peer in {lost} (" in words
    assert ("news with 5 labels a class: SetFit is better by" in words) == bool(lost)


def test_the_difference_of_two_single_runs_is_that_of_mcnemar():
    """12 of 16 rows that tell are for ftkit; mid-p is from the binomial distribution."""
    own = answers("ftkit", 1.0)._replace(right="1" * 12 + "0" * 4 + "1" * 84)
    peer = answers("probe", 1.0)._replace(right="0" * 12 + "1" * 4 + "1" * 84)
    less = cells_of([own, peer])[0].tools["probe"].less
    exact = 2 * (binom.cdf(3, 16, 0.5) + binom.pmf(4, 16, 0.5) / 2)
    assert less.p == pytest.approx(exact, abs=0.01)
    assert less.difference == pytest.approx(-0.08)


def test_only_seeds_that_all_tools_have_are_compared():
    found = [answers("ftkit", 0.8, seed) for seed in range(3)] + [answers("probe", 0.8, 1)]
    assert cells_of(found)[0].seeds == 1
    assert cells_of(found[:3]) == []  # nothing to compare ftkit with


def test_the_report_replaces_what_stands_between_its_marks(tmp_path):
    (tmp_path / "figures").mkdir()
    page = tmp_path / "accuracy.md"
    page.write_text(f"# Title\n\n{BEGIN}\nyesterday's figures\n{END}\nend\n")
    found = [answers("ftkit", 0.9, rows=rows) for rows in (0, 50)]
    found += [answers("probe", 0.5, rows=rows) for rows in (0, 50)]
    write_report(found, tmp_path)
    write_report(found, tmp_path)
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("\nend\n")
    assert "yesterday" not in text
    assert [line.split("|")[2].strip() for line in text.splitlines() if "| news" in line] == [
        "50",
        "all",
    ]
    stored = json.loads((tmp_path / "figures/accuracy.json").read_text())
    assert [cell["rows"] for cell in stored] == [50, "all"]
    assert stored[0]["tools"]["probe"]["p"] < 0.001


def test_cells_that_were_measured_elsewhere_stay(tmp_path):
    (tmp_path / "figures").mkdir()
    page, figures = tmp_path / "accuracy.md", tmp_path / "figures/accuracy.json"
    page.write_text(f"{BEGIN}{END}")
    pair = [answers("ftkit", 0.9, rows=5), answers("probe", 0.5, rows=5)]
    all_rows = [each._replace(rows=0) for each in pair]
    write_report(pair + all_rows, tmp_path)
    before = page.read_text(), figures.read_text()
    write_report([], tmp_path)
    assert (page.read_text(), figures.read_text()) == before
    again = [pair[0]._replace(told="otherwise"), pair[1]]
    write_report(again, tmp_path)
    lines = [line for line in page.read_text().splitlines() if "| news" in line]
    assert ["otherwise" in line for line in lines] == [True, False]
    seeds = [each._replace(seed=seed) for each in again for seed in range(2)]
    write_report(seeds, tmp_path)
    before = page.read_text(), figures.read_text()
    write_report(pair, tmp_path)  # of one seed
    assert (page.read_text(), figures.read_text()) == before


def test_the_command_line_knows_all_labels(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "--data", "x", "--rows", "5", "all"])
    assert bench_accuracy.parse().rows == [5, bench_accuracy.ALL]
