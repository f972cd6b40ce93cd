"""Tables of runs hold the figures that were measured."""

import io

import pytest
from rich.console import Console

from ftkit import RunError, RunResult
from ftkit.compare.tables import sheet, table
from ftkit.runs.result import Measured, Seconds


def make(recipe, kind, accuracy, **changes):
    metrics = {
        "accuracy": accuracy,
        "balanced_accuracy": (0.8123, 0.7654, 0.8432),
        "macro_f1": (0.7999, 0.7001, 0.8888),
    }
    values = {
        "recipe": recipe,
        "strategy": {"kind": kind},
        "task": {},
        "dataset": "embedded:digits",
        "split": "test",
        "n": 1360,
        "metrics": {
            name: Measured(value=value, low=low, high=high, method="some")
            for name, (value, low, high) in metrics.items()
        },
        "parameters_total": 4_000_000,
        "parameters_trained": 50_000,
        "seconds": Seconds(data=1, features=20, train=102, evaluate=31, total=160),
        "examples_per_second": 10,
        "peak_memory_bytes": {"host": 1_230_000_000, "device": 450_000_000},
        "model_bytes": 17_300_000,
        "seed": 0,
        "world_size": 1,
        "device": "cpu",
        "precision": "fp32",
        "versions": {},
        "commit": None,
        "started": "",
        "finished": "",
        "status": "complete",
    }
    return RunResult(**(values | changes))


def render(shown, width=110):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    return console.file.getvalue()


HEAD = make("effnet-digits", "head", (0.9472, 0.9191, 0.9661))
LORA = make(
    "vit-cifar", "lora", (0.9876, 0.9801, 0.9923), parameters_trained=1_000_000, model_bytes=345e6
)


def test_a_table_has_a_line_for_each_run_with_its_figures():
    lines = render(table([HEAD, LORA])).splitlines()
    (head,) = [line for line in lines if "effnet-digits" in line]
    (lora,) = [line for line in lines if "vit-cifar" in line]
    figures = ["head", "0.947 [0.919, 0.966]", "1.2%", "122 s", "17.3 MB"]
    assert all(figure in head for figure in figures), head
    figures = ["lora", "0.988 [0.980, 0.992]", "25.0%", "122 s", "345 MB"]
    assert all(figure in lora for figure in figures), lora


def test_runs_stand_in_the_order_they_were_given_in():
    text = render(table([LORA, HEAD]))
    assert text.index("vit-cifar") < text.index("effnet-digits")


def test_the_title_says_on_what_each_run_was_tested():
    other = make("vit-mine", "full", (0.5, 0.4, 0.6), dataset="owner/birds", n=90)
    text = " ".join(render(table([HEAD, LORA, other]), 140).split())
    assert text.count("1,360 test rows of embedded:digits") == 1
    assert "90 test rows of owner/birds" in text


def test_a_narrow_terminal_folds_names_and_keeps_figures():
    text = render(
        table([make("a-recipe-with-quite-a-long-name", "head", (0.9472, 0.9191, 0.9661))]), 80
    )
    assert "0.947 [0.919, 0.966]" in text
    assert "17.3 MB" in text


def test_no_run_is_refused():
    with pytest.raises(RunError, match="no run to show"):
        table([])


def test_a_sheet_has_every_figure_of_one_run():
    text = render(sheet(HEAD))
    for expected in (
        "effnet-digits, head: 1,360 test rows",
        "accuracy",
        "0.947 [0.919, 0.966]",
        "balanced accuracy",
        "0.812 [0.765, 0.843]",
        "macro f1",
        "0.800 [0.700, 0.889]",
        "50,000 of 4,000,000",
        "122 training, 31 evaluation, 160 in all",
        "1.23 GB",
    ):
        assert expected in text
