"""Every task of the recipe, one added later too, says what a task has to say, on made-up rows."""

import inspect
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from ftkit import DataError
from ftkit.compare.row_statistics import READERS, moments
from ftkit.data.splits import Splits, labels_of
from ftkit.recipe import Task as Settings
from ftkit.tasks import task_of
from ftkit.tasks.base import Task

KINDS = {settings().kind: settings for settings in get_args(Settings)}
NAMES = ("no", "yes", "maybe")
N = 12
TEXTS = [f"text {number} of some length" for number in range(N)]
CLASSES = [number % 3 for number in range(N)]
TABLES = {
    "image": Dataset.from_dict(
        {"image": [Pillow.new("RGB", (8, 8), (20 * n, 0, 0)) for n in range(N)], "label": CLASSES},
        features=Features({"image": Image(), "label": ClassLabel(names=list(NAMES))}),
    ),
    "text": Dataset.from_dict(
        {"text": TEXTS, "label": CLASSES},
        features=Features({"text": Value("string"), "label": ClassLabel(names=list(NAMES))}),
    ),
    "numbers": Dataset.from_dict({"text": TEXTS, "label": [0.5 * n for n in range(N)]}),
    "lists": Dataset.from_dict(
        {"text": TEXTS, "label": [[n % 3] * (n % 2) for n in range(N)]},
        features=Features({"text": Value("string"), "label": List(ClassLabel(names=list(NAMES)))}),
    ),
    "measured images": Dataset.from_dict(
        {
            "image": [Pillow.new("RGB", (8, 8), (20 * n, 0, 0)) for n in range(N)],
            "label": [0.5 * n for n in range(N)],
        },
        features=Features({"image": Image(), "label": Value("float64")}),
    ),
    "tagged images": Dataset.from_dict(
        {
            "image": [Pillow.new("RGB", (8, 8), (20 * n, 0, 0)) for n in range(N)],
            "label": [[n % 3] * (n % 2) for n in range(N)],
        },
        features=Features({"image": Image(), "label": List(ClassLabel(names=list(NAMES)))}),
    ),
    "words": Dataset.from_dict(
        {"tokens": [text.split() for text in TEXTS], "label": [[n % 3] * 5 for n in range(N)]},
        features=Features(
            {"tokens": List(Value("string")), "label": List(ClassLabel(names=list(NAMES)))}
        ),
    ),
    "plain": Dataset.from_dict({"text": TEXTS}),
    "pairs": Dataset.from_dict({"source": TEXTS, "target": [text.upper() for text in TEXTS]}),
    "table": Dataset.from_dict({"a": [float(n) for n in range(N)], "label": CLASSES}),
    "measures": Dataset.from_dict(
        {"a": [float(n) for n in range(N)], "label": [0.5] * (N - 1) + [1]}
    ),
}
"""Rows of several kinds; each task reads at least one of them."""


def resolved(kind):
    """Return the first table that the task can read, and the task with its columns."""
    for table in TABLES.values():
        task = task_of(KINDS[kind]())
        try:
            found = task.resolve_columns(table.features)
            found, _ = found.learn_columns(table, table.features, task)
            found.inputs(table, None)
            found.read_labels({"train": table})
        except DataError:  # this table is none for it
            continue
        return table, found
    raise AssertionError(f"no table of TABLES is one for {kind}; add one")


@pytest.fixture(params=KINDS)
def read(request):
    return resolved(request.param)


def test_the_file_of_a_task_is_named_after_its_kind():
    for kind, settings in KINDS.items():
        task = task_of(settings())
        assert isinstance(task, Task)
        assert type(task).__module__ == f"ftkit.tasks.{kind.replace('-', '_')}"


def test_whatever_a_task_overrides_is_asked_for(read):
    _, task = read
    known = {name for name, _ in inspect.getmembers(Task)}
    known |= {name for cls in Task.__mro__ for name in vars(cls).get("__annotations__", ())}
    own = {
        name
        for cls in type(task).__mro__
        if issubclass(cls, Task) and cls is not Task
        for name in vars(cls)
        if not name.startswith("_")
    }
    assert own <= known


def test_columns_are_there_and_a_task_is_never_changed(read):
    table, task = read
    before = task.settings.model_copy()
    names = {name.partition(".")[0] for name in (*task.input_columns(), *task.label_columns())}
    assert names <= set(table.features)
    assert set(task.column_uses(table.features)) <= set(table.features)
    again = task.resolve_columns(table.features)
    assert again.settings == task.settings == before


def test_canonical_rows_have_inputs_label_and_index(read):
    table, task = read
    names, labels = task.read_labels({"train": table})
    rows = task.canonical(table, labels["train"], None)
    assert len(rows) == N
    assert rows["index"][:] == list(range(N))
    inputs = set(rows.column_names) - {"label", "index"}
    assert inputs
    assert task.user_inputs(rows).keys() == (
        {*inputs, "target"} if "source" in inputs else inputs
    ) - {"image"}
    assert names == () or names == NAMES or set(names) == {"0", "1", "2"}


def test_rows_without_labels_can_be_read(read):
    table, task = read
    blank = task.blank_labels(table)
    assert len(blank) == N
    rows = task.canonical(table, blank, None)
    assert len(task.label_array(rows, len(NAMES))) == N


def test_classes_that_a_model_knows_are_those_that_are_read(read):
    table, task = read
    names, _ = task.read_labels({"train": table})
    known = task.known_labels(names)
    assert bool(known) == bool(names)
    if known:
        again, labels = task.read_labels({**known, "given": table}, strict=False)
        assert again == names
        assert len(labels["given"]) == N


def test_a_baseline_can_average_labels_and_is_measured(read):
    table, task = read
    names, labels = task.read_labels({"train": table})
    if task.settings.kind in ("token-classification", "text-generation", "translation"):
        pytest.skip("there is no single label to average")
    rows = task.canonical(table, labels["train"], None)
    targets = task.targets(rows, len(names))
    outputs = task.outputs_of_means(targets.mean(0, keepdims=True)).repeat(N, 0)
    truth = task.label_array(rows, len(names))
    scored, measured = task.score(truth, outputs), task.measure(truth, outputs)
    assert np.isfinite(scored["loss"])
    assert set(task.settings.figures) <= set(scored)
    assert list(measured) == [name for name in task.settings.figures if name in measured]
    assert task.settings.figures[0] == "accuracy" or task.settings.tells != "class"
    for name, figure in measured.items():
        assert figure.low <= figure.value <= figure.high
        assert figure.value == pytest.approx(scored[name])


def test_outputs_become_columns_of_the_test_rows(read, tmp_path):
    table, task = read
    if task.settings.kind in ("token-classification", "text-generation", "translation"):
        pytest.skip("its outputs are no array; tests of that task write them")
    names, labels = task.read_labels({"train": table})
    rows = task.canonical(table, labels["train"], None)
    splits = Splits(rows, rows, rows, names, "train", task=task.settings)
    head = task.head_settings(names)
    width = head["num_labels"]
    if "id2label" in head:  # predict has the classes from there
        assert len(head["id2label"]) == width
        assert task.class_names(tuple(head["id2label"].values())) == names
    outputs = np.random.default_rng(0).normal(size=(N, width)).astype(np.float32)
    columns = task.columns(splits, outputs)
    assert {"label", "prediction"} <= set(columns)
    assert all(len(values) == N for values in columns.values())
    assert len(labels_of(rows)) == N
    reader = READERS[task.settings.tells]
    parts, figure = reader(pa.table(columns), task.settings.model_dump(mode="json"))
    (parts,) = moments(figure, [parts.astype(float)])
    first = task.measure(task.label_array(rows, len(names)), outputs)[task.settings.figures[0]]
    assert figure(parts.sum(0)) == pytest.approx(first.value)  # what paired tests compare
    task.draw(splits, outputs, tmp_path, "title")
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert all(
        len(values) == 3 for values in task.expected_on_reload(outputs, np.arange(3)).values()
    )
