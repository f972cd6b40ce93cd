"""The values of the group column: which of them are equal, whatever their type in each split."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from ftkit import Data, DataError, TabularClassification
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits


def tables(folder, **files):
    """A folder of CSV files, each with these patients."""
    folder.mkdir(exist_ok=True)
    for name, who in files.items():
        lines = [f"{patient},{n * 1.5},{'ab'[n % 2]}" for n, patient in enumerate(who)]
        (folder / f"{name}.csv").write_text("\n".join(["patient,x,label", *lines]) + "\n")
    return Data(path=str(folder), group="patient")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([n % 5 for n in range(20)], [0, 1, "A"]),  # numbers here, text there
        ([f"00{n % 5}" for n in range(20)], ["001", "A"]),
        ([*(n % 5 for n in range(20)), ""], ["A", 3]),  # a gap makes 3.0 of 3
        (["A", *(n % 5 for n in range(20))], [3, 4]),
    ],
)
def test_a_group_is_the_same_where_another_split_has_text(tmp_path, train, test):
    """Patients 0 to 4 as numbers and as text were other patients."""
    data = tables(tmp_path / "rows", train=train, test=test)
    data = data.model_copy(update={"on_bad_row": "skip"})
    shared = sorted({str(v) for v in train} & {str(v) for v in test})
    with pytest.raises(DataError, match=f"split 'test' shares patient '{shared[0]}'"):
        load_splits(data, task_of(TabularClassification(label="label")))


def test_a_group_is_what_its_file_says_where_any_split_has_text(tmp_path):
    data = tables(tmp_path / "rows", train=["001", "002", "003"] * 10, test=["1", "2", "2", "A"])
    splits = load_splits(data, task_of(TabularClassification(label="label")))
    assert splits.groups.tolist()[1] == splits.groups.tolist()[2]
    assert len(set(splits.groups.tolist())) == 3
    data = tables(tmp_path / "numbers", train=["001", "002", "003"] * 10, test=["1", "2"])
    with pytest.raises(DataError, match="shares patient 1 and 1 more with split 'train'"):
        load_splits(data, task_of(TabularClassification(label="label")))


def test_groups_of_other_types_are_compared_as_text(tmp_path):
    columns = {"x": np.arange(20) / 7, "label": ["a", "b"] * 10}
    numbers = Dataset.from_dict(columns | {"patient": np.arange(20) // 2 / 1.0})
    texts = Dataset.from_dict(columns | {"patient": [str(n // 2 + 8) for n in range(20)]})
    DatasetDict(train=numbers, test=texts).save_to_disk(tmp_path)
    data = Data(path=str(tmp_path), group="patient")
    with pytest.raises(DataError, match="shares patient '8' and 1 more with split 'train'"):
        load_splits(data, task_of(TabularClassification()))


def of_classes(tmp_path, train, test, numbers=(0, 1, 2)):
    """Two splits whose patients are classes with these names, each in a numbering of its own."""
    made = {}
    for split, names in (("train", train), ("test", test)):
        who = [n for n in numbers for _ in range(6)]
        columns = {"patient": who, "x": np.arange(18) / 7, "label": ["a", "b"] * 9}
        kinds = {"patient": ClassLabel(names=names), "x": Value("float64")}
        features = Features(kinds | {"label": Value("string")})
        made[split] = Dataset.from_dict(columns, features=features)
    DatasetDict(made).save_to_disk(tmp_path)
    return load_splits(Data(path=str(tmp_path), group="patient"), task_of(TabularClassification()))


def test_groups_that_are_classes_are_compared_by_name(tmp_path):
    """Other names with the same numbers were refused, and a shared name with another accepted."""
    apart = of_classes(tmp_path / "apart", ["ann", "bob", "cid"], ["eve", "fay", "gus"])
    assert len(np.unique(apart.groups)) == 3
    with pytest.raises(DataError, match="split 'test' shares patient 'ann' with split 'train'"):
        of_classes(tmp_path / "shared", ["ann", "bob", "cid"], ["eve", "fay", "ann"])
    with pytest.raises(DataError, match="6 rows have no 'patient'"):
        of_classes(tmp_path / "none", ["ann", "bob", "cid"], ["eve", "fay", "gus"], (0, 1, -1))
