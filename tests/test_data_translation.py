"""Pairs of texts: plain columns, the Hub's nested one, and what is refused or odd."""

import json

import pytest
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Translation as Languages

from ftkit import Data, DataError, Translation
from ftkit.data.embedded import embedded_data
from ftkit.tasks import task_of
from ftkit.tasks.loading import examine, load_splits, screen

WORDS = ["hat", "man", "hut", "sun", "tree", "sea", "cow", "egg", "bee", "dog"]


def pairs(count=40):
    return [(f"a {WORDS[i % 10]} {i}", f"ein {WORDS[-1 - i % 10]} {i}") for i in range(count)]


def jsonl(folder, rows):
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(path=str(file))


def nested(folder, feature=True):
    rows = {"translation": [{"en": source, "de": target} for source, target in pairs()]}
    kind = Languages(languages=["en", "de"])
    kind = kind if feature else {"en": Value("string"), "de": Value("string")}
    found = Dataset.from_dict(rows, features=Features({"translation": kind}))
    DatasetDict({"train": found}).save_to_disk(folder / "hub")
    return Data(path=str(folder / "hub"))


def test_columns_called_source_and_target_are_found(tmp_path):
    data = jsonl(tmp_path, [{"id": 1, "source": a, "target": b} for a, b in pairs()])
    splits = load_splits(data, task_of(Translation()))
    assert splits.label_names == ()
    rows = [row for part in (splits.train, splits.validation, splits.test) for row in part]
    assert {(row["source"], row["label"]) for row in rows} == set(pairs())
    assert all(pairs()[row["index"]] == (row["source"], row["label"]) for row in rows)


@pytest.mark.parametrize("feature", [True, False], ids=["Translation", "struct"])
@pytest.mark.parametrize(
    ("asked", "source"),
    [
        ({"source": "en", "target": "de"}, 0),
        ({"source": "de", "target": "en"}, 1),
        ({"source": "de"}, 1),
        ({"target": "de"}, 0),
        ({"source": "translation.en", "target": "translation.de"}, 0),
    ],
)
def test_a_language_is_a_field_of_the_nested_column(feature, asked, source, tmp_path):
    splits = load_splits(nested(tmp_path, feature), task_of(Translation(**asked)))
    row = splits.train[3]
    pair = pairs()[row["index"]]
    assert (row["source"], row["label"]) == (pair[source], pair[1 - source])


def test_which_of_two_languages_is_the_source_is_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"which language is the source\? .* has en, de\."):
        load_splits(nested(tmp_path), task_of(Translation()))


def test_a_language_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no language 'dee'; did you mean 'de'"):
        load_splits(nested(tmp_path), task_of(Translation(source="en", target="dee")))


def test_a_missing_column_is_named(tmp_path):
    data = jsonl(tmp_path, [{"english": a, "german": b} for a, b in pairs()])
    with pytest.raises(DataError, match=r"which column is the source\? Columns are english"):
        load_splits(data, task_of(Translation()))
    with pytest.raises(DataError, match=r"no column 'germn'.*did you mean 'german'"):
        load_splits(data, task_of(Translation(source="english", target="germn")))
    with pytest.raises(DataError, match="both 'german'"):
        load_splits(data, task_of(Translation(source="german", target="german")))


def test_a_column_of_numbers_is_no_text(tmp_path):
    data = jsonl(tmp_path, [{"source": a, "target": i} for i, (a, _) in enumerate(pairs())])
    with pytest.raises(DataError, match=r"column 'target' holds .*int64.*, not texts"):
        load_splits(data, task_of(Translation()))


def test_texts_mixed_with_numbers_are_refused_in_one_line(tmp_path):
    rows = [{"source": a, "target": b} for a, b in pairs()]
    rows[30]["target"] = 7
    with pytest.raises(DataError) as caught:
        load_splits(jsonl(tmp_path, rows), task_of(Translation()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["source", "target"])
@pytest.mark.parametrize("nothing", ["", " \t", None])
def test_empty_texts_are_named_by_row(column, nothing, tmp_path):
    rows = [{"source": a, "target": b} for a, b in pairs()]
    rows[7][column] = nothing
    splits = load_splits(jsonl(tmp_path, rows), task_of(Translation()))
    what = "text" if column == "source" else "translation"
    with pytest.raises(DataError, match=rf"row 7: the {what} is empty"):
        screen(splits, "error", lambda work: work())
    left = screen(splits, "skip", lambda work: work())
    assert sum(left.counts().values()) == len(rows) - 1


def test_what_is_odd_with_pairs_is_found(tmp_path):
    rows = [{"source": a, "target": b} for a, b in pairs()]
    rows[1] = dict(rows[0])  # the pair again
    rows[3] = {**rows[2], "target": "another translation"}  # no repetition, and no conflict
    rows[5]["target"] = rows[5]["source"]
    parts = {"train": rows, "test": [{"source": "A, hat: 0!", "target": "x"}, *rows[10:12]]}
    parts["validation"] = [{"source": f"other {i}", "target": "y"} for i in range(3)]
    for name, part in parts.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in part))
    splits = load_splits(Data(path=str(tmp_path)), task_of(Translation()))
    found = "\n".join(str(finding) for finding in examine(splits, "error"))
    assert "1 row of train repeats another one" in found
    assert "1 row is the same before and after translation: train 5" in found
    assert "2 rows of test are also in train" in found
    assert "1 row of test is equal but for case, spaces and punctuation to rows of train" in found
    assert "different labels" not in found


def test_the_embedded_names_are_pairs():
    parts = embedded_data("cldr-en-de")
    both = {(row["source"], row["target"]) for part in parts.values() for row in part}
    assert ("Germany", "Deutschland") in both
    assert len(both) == sum(map(len, parts.values())) > 1300
    assert not set(parts["train"]["source"]) & set(parts["test"]["source"])
