"""Columns of whole numbers in a table: an order, or names; gaps; and what training rows lack."""

import numpy as np
import pytest

from ftkit import Data, TabularClassification, TabularRegression
from ftkit.machine.numbers import plain
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits
from ftkit.tasks.rows_to_answer import read_rows
from ftkit.tasks.whole_numbers import levels_help


def numbers_table(tmp_path, columns, **task):
    """Splits of a table with these columns of numbers, each of 60 rows, None for a gap."""
    rows = zip(*columns.values(), range(60), strict=True)
    lines = [",".join("" if v is None else str(v) for v in row) for row in rows]
    (tmp_path / "rows.csv").write_text("\n".join([",".join([*columns, "y"]), *lines]))
    return load_splits(Data(path=str(tmp_path)), task_of(TabularRegression(label="y", **task)))


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([n % 8 for n in range(60)], tuple(range(8))),
        ([f"{n % 5 - 2}.0" for n in range(60)], (-2, -1, 0, 1, 2)),  # as a gap makes them in pandas
        ([None if n == 7 else n % 4 for n in range(60)], (0, 1, 2, 3)),
        ([n % 3 for n in range(60)], None),  # an order, mostly
        ([n % 13 for n in range(60)], None),  # fewer than five rows of each
        ([n % 5 / 2 for n in range(60)], None),
        (list(range(60)), None),
        (["inf" if n == 7 else n % 5 for n in range(60)], None),
    ],
)
def test_few_whole_numbers_are_categories_too(tmp_path, values, levels):
    splits = numbers_table(tmp_path, {"a": values}, read_levels=True)
    assert splits.task.levels == ({} if levels is None else {"a": levels})
    for row in splits.test:
        number, *marks = row["features"]
        if levels and not np.isnan(number):
            assert marks[: len(levels)] == [float(number == level) for level in levels]
    alone = numbers_table(tmp_path, {"a": values}, read_levels=False)
    assert alone.task.levels == {}


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("names", [True, False])
def test_whole_numbers_that_are_names_are_told_from_an_order(tmp_path, kind, names):
    """Names: every number has an amount of its own. An order: the amount grows with the number."""
    random = np.random.default_rng(0)
    day, other = random.integers(1, 8, (2, 300))
    amount = np.array([0, 5, -3, 4, -4, 1, 3, -5])[day] if names else day.astype(float)
    amount = amount + random.normal(size=300) * 0.3
    label = amount if kind == "number" else np.where(amount > np.median(amount), "more", "less")
    pairs = zip(day, other, label, strict=True)
    lines = [f"{a},{'' if n == 5 else b},{y}" for n, (a, b, y) in enumerate(pairs)]
    (tmp_path / "rows.csv").write_text("\n".join(["day,other,y", *lines]))
    task = TabularRegression if kind == "number" else TabularClassification
    splits = load_splits(Data(path=str(tmp_path)), task_of(task(label="y")))
    expected = {"day": tuple(range(1, 8)), "other": tuple(range(1, 8))} if names else {}
    assert splits.task.levels == expected
    width = 3 + (14 if names else 0)  # the third: whether there is a gap in other
    assert np.shape(splits.test["features"][:]) == (len(splits.test), width)
    (note,) = (note for note in splits.notes if "columns of few whole numbers" in note)
    assert "day (7), other (7): " in note
    assert ("an input beside the number, which helps" if names else "numbers alone") in note


def test_rows_of_a_group_are_held_out_together(tmp_path):
    """Each subject has one site and one label, at random: sites tell nothing of other subjects."""
    random = np.random.default_rng(1)
    label = random.choice(["yes", "no"], 40)
    lines = [f"s{n % 40},{n % 40 // 4},{n / 7},{label[n % 40]}" for n in range(400)]
    (tmp_path / "rows.csv").write_text("\n".join(["subject,site,x,y", *lines]))
    task = task_of(TabularClassification(label="y"))
    alone = load_splits(Data(path=str(tmp_path)), task)
    assert "site" in alone.task.levels
    grouped = load_splits(Data(path=str(tmp_path), group="subject"), task)
    assert grouped.task.levels == {}


def test_labels_of_test_and_validation_rows_decide_nothing(tmp_path):
    """In training rows a day is an order, and in the others, which are cut from them, a name."""
    random = np.random.default_rng(0)
    day = random.integers(1, 8, 400)

    def splits_of(amounts):
        pairs = zip(day, amounts.tolist(), strict=True)
        rows = [f"{d},{n / 7},{y}" for n, (d, y) in enumerate(pairs)]
        (tmp_path / "rows.csv").write_text("\n".join(["day,x,y", *rows]))
        return load_splits(Data(path=str(tmp_path)), task_of(TabularRegression(label="y")))

    order = day + random.normal(size=400) * 0.1
    cut = splits_of(order)
    others = [*cut.test["index"][:], *cut.validation["index"][:]]
    mixed = order.copy()
    mixed[others] = np.array([0, 90, -90, 70, -70, 50, 80, -80])[day[others]]
    found = splits_of(mixed)
    assert found.train["index"][:] == cut.train["index"][:]
    assert found.task.levels == cut.task.levels == {}
    assert np.shape(found.test["features"][:])[1] == 2
    names = np.array([0, 90, -90, 70, -70, 50, 80, -80])[day] + random.normal(size=400)
    assert splits_of(names).task.levels == {"day": tuple(range(1, 8))}


def test_levels_that_are_given_stand(tmp_path):
    splits = numbers_table(tmp_path, {"a": [n % 5 for n in range(60)]}, levels={"a": (0, 4)})
    assert splits.task.levels == {"a": (0, 4)}
    assert np.shape(splits.test["features"][:])[1] == 3


def test_numbers_and_gaps_that_training_lacks_are_said(tmp_path):
    for split in ("train", "test"):
        odd = ["17,0,1", ",,2"] if split == "test" else []
        lines = [f"{n % 5},{n / 7},{n % 5}" for n in range(40)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["room,rate,y", *lines, *odd]))
    task = task_of(TabularRegression(label="y", read_levels=True))
    splits = load_splits(Data(path=str(tmp_path)), task)
    said = [
        "1 row holds a number in 'room' that the training rows lack (17)",
        "1 row has a gap in 'room', where training has none: the mean stands in",
        "1 row has a gap in 'rate', where training has none: the mean stands in",
    ]
    assert {f"split 'test': {each}" for each in said} <= {*splits.notes}
    given = read_rows([str(tmp_path / "test.csv")], task_of(splits.task), ())
    assert {*said} <= {*given.notes}


def test_few_whole_numbers_of_hardly_any_rows_are_numbers():
    random = np.random.default_rng(0)
    levels = np.eye(4)[np.arange(8) % 4]
    assert not levels_help(random.normal(size=(8, 1)), levels, np.arange(8) % 2)
    same = np.zeros(40, int)
    assert not levels_help(random.normal(size=(40, 1)), np.eye(4)[np.arange(40) % 4], same)
    broken = np.array([[np.inf, np.nan], [1, np.nan]] * 20)
    names = np.arange(40) % 4 % 2
    assert levels_help(broken, np.eye(4)[np.arange(40) % 4], names)


def test_a_gap_is_an_input_where_training_has_some_and_not_all(tmp_path):
    some = [None if n % 6 == 0 else n / 7 for n in range(60)]
    splits = numbers_table(tmp_path, {"a": some, "b": [n / 7 for n in range(60)]})
    assert splits.task.gaps == ("a",)
    for row in [*splits.train, *splits.test]:
        number, gap, whole = row["features"]
        assert (np.isnan(number), gap) == (
            (True, 1.0) if some[row["index"]] is None else (False, 0.0)
        )
        assert not np.isnan(whole)
        assert task_of(splits.task).told(row["features"])[0] == (
            "a",
            "" if gap else plain(number, 6),
        )
