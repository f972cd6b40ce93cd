"""CSV and JSON as people write them: any separator and encoding, and what is broken by its line."""

import json
import os

import fsspec
import numpy as np
import pandas as pd
import pytest
from conftest import make_image
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

from ftkit import Data, DataError, ImageClassification, TextClassification, data_of
from ftkit.cli.main import main
from ftkit.data.columns import find_bad_rows
from ftkit.data.sources import read_source
from ftkit.tasks import task_of
from ftkit.tasks.loading import load_splits, screen

ROWS = [("Größe, mit Komma", "de"), ('say "yes"', "en"), ("two\nlines", "en"), ("NA", "None")]


def write(file, separator=",", encoding="utf-8", rows=ROWS):
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame.to_csv(file, sep=separator, encoding=encoding, index=False)
    return file


def rows_of(path, **settings):
    rows = read_source(Data(path=str(path), **settings)).splits["train"]
    return list(zip(rows["text"][:], rows["label"][:], strict=True))


def refusal(path, **settings):
    with pytest.raises(DataError) as caught:
        read_source(Data(path=str(path), **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_separator_and_encoding_are_found_out(tmp_path, separator, encoding, suffix):
    assert rows_of(write(tmp_path / f"rows{suffix}", separator, encoding)) == ROWS


def test_an_odd_separator_is_said_aloud(tmp_path):
    assert read_source(Data(path=str(write(tmp_path / "a.csv", ";")))).notes == (
        "a.csv is separated by ';'",
    )
    assert read_source(Data(path=str(write(tmp_path / "b.csv", ",")))).notes == ()


def test_what_cannot_be_found_out_is_told_by_name(tmp_path):
    file = write(tmp_path / "rows.csv", "#", "latin-1")
    assert rows_of(file, separator="#", encoding="latin-1") == ROWS


def test_bytes_that_are_not_utf_8_are_named_by_line(tmp_path):
    rows = [("plain", "en")] * 5000 + [("Größe", "de")] + [("plain", "en")] * 5000
    message = refusal(write(tmp_path / "rows.csv", encoding="latin-1", rows=rows))
    assert "rows.csv', line 5002: byte 0xF6 is not UTF-8" in message
    assert "--set data.encoding=cp1252" in message
    (tmp_path / "c1.csv").write_bytes("text,label\n\x81ö,a\n".encode("latin-1"))
    assert "--set data.encoding=latin-1" in refusal(tmp_path / "c1.csv")
    assert "Python knows no such encoding" in refusal(tmp_path / "rows.csv", encoding="latin-0")


def test_a_row_of_another_width_is_named_by_line(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('text,label\n"two\nlines",a\nb,c\nd\n')
    message = refusal(file)
    assert "line 5 (row 2): 1 field where the header has 2 (text, label)" in message
    assert "line 2 (row 0): 1 field" not in message
    file.write_text("text,label\na,b\nc,d,e\n")
    assert "line 3 (row 1): 3 fields" in refusal(file)


def test_the_wrong_separator_is_named(tmp_path):
    rows = [("a, b", "x"), ("c", "y")]
    message = refusal(write(tmp_path / "rows.csv", ";", rows=rows), separator=",")
    assert (
        "line 2 (row 0): 2 fields where the header has 1 (text;label), separated by ','" in message
    )


def test_a_quote_that_is_never_closed_is_named(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('text,label\nfine,a\n"open,b\n' + "more,c\n" * 1000)
    assert "rows.csv', line 3: unexpected end of data" in refusal(file)


def test_quotes_between_tabs_are_part_of_the_text(tmp_path):
    file = tmp_path / "rows.tsv"
    file.write_text('text\tlabel\n"hm" she said\ta\n"open\tb\n')
    assert rows_of(file) == [('"hm" she said', "a"), ('"open', "b")]
    assert "quotes are part of the text" in read_source(Data(path=str(file))).notes[0]


def test_a_row_of_a_million_characters_is_read_and_noted(tmp_path):
    rows = [(f"word {number}", "ab"[number % 2]) for number in range(40)]
    rows[7] = ("long " * 200_000, "b")
    file = write(tmp_path / "rows.csv", rows=rows)
    splits = load_splits(Data(path=str(file)), task_of(TextClassification()))
    (long,) = (f for f in screen(splits, "error", lambda work: work()).findings)
    assert "longer than 100,000 characters (the longest has 1,000,000)" in long.message
    assert list(long.examples[0].values()) == [(7,)]
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert rows_of(tmp_path / "rows.jsonl") == rows


def test_a_column_is_what_all_its_rows_are(tmp_path):
    count = 25_000  # datasets reads 10,000 at once
    frame = pd.DataFrame(
        {
            "late": [*map(str, range(count - 1)), "word"],
            "whole": range(count),
            "gap": [*range(count - 1), None],
            "half": np.arange(count) / 2,
        }
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    rows = read_source(Data(path=str(tmp_path / "rows.csv"))).splits["train"]
    assert {name: kind.dtype for name, kind in rows.features.items()} == {
        "late": "string",
        "whole": "int64",
        "gap": "float64",
        "half": "float64",
    }
    assert rows["late"][-2:] == [str(count - 2), "word"]
    assert rows["whole"][-1] == count - 1
    assert rows["gap"][-2] == count - 2
    assert rows["gap"][-1] is None or np.isnan(rows["gap"][-1])


def test_numbers_with_spaces_signs_and_exponents_are_numbers(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b,c,d\n 1, 1.5,1e3,true\n-2 ,.5 ,inf,false\n")
    rows = read_source(Data(path=str(tmp_path / "rows.csv"))).splits["train"]
    assert [rows[name][:] for name in "abcd"] == [
        [1, -2],
        [1.5, 0.5],
        [1000.0, float("inf")],
        [True, False],
    ]


def test_a_line_of_spaces_is_no_row(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n  \n3,4\n\t\n")
    rows = read_source(Data(path=str(tmp_path / "rows.csv"))).splits["train"]
    assert rows[:] == {"a": [1, 3], "b": [2, 4]}


def test_excel_may_say_that_tabs_separate(tmp_path):
    (tmp_path / "rows.csv").write_text("sep=\t\na\tb\n1,5\t2\n3,5\t4\n")
    rows = read_source(Data(path=str(tmp_path / "rows.csv"))).splits["train"]
    assert rows[:] == {"a": [1.5, 3.5], "b": [2, 4]}


def test_files_of_one_split_share_their_columns(tmp_path):
    (tmp_path / "train-0.csv").write_text("text,label\na,1\n")
    (tmp_path / "train-1.csv").write_text("text;label\nb;x\n")
    assert rows_of(tmp_path) == [("a", "1"), ("b", "x")]
    (tmp_path / "train-1.csv").write_text("words,label\nb,x\n")
    assert "its columns are words, label, those of" in refusal(tmp_path)
    (tmp_path / "train-1.csv").write_text("text,text\nb,x\n")
    assert "two columns are called 'text'" in refusal(tmp_path)


def test_a_json_line_cut_in_half_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": f"word {n}", "label": n % 2}) for n in range(100)]
    for cut in (0, 42, 99):
        broken = [line[:12] if n == cut else line for n, line in enumerate(lines)]
        file.write_text("\n".join(broken))
        message = refusal(file)
        assert f"rows.jsonl', line {cut + 1} is not JSON" in message
        assert "cut off" in message


@pytest.mark.parametrize("mixed", [["a", 1], [1, "a"], [True, "a"]])
def test_labels_of_mixed_types_are_named_by_row(tmp_path, mixed):
    lines = [{"text": f"word {n}", "label": mixed[n == 30]} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"column 'label', split 'train', row 30: .*row 0 has"):
        load_splits(Data(path=str(tmp_path / "rows.jsonl")), task_of(TextClassification()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_json_lines_may_be_written_in_other_encodings(tmp_path, encoding):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding=encoding)
    settings = {"encoding": encoding} if encoding == "latin-1" else {}
    assert rows_of(tmp_path / "rows.jsonl", **settings) == ROWS


def test_json_may_be_one_array(tmp_path):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    assert rows_of(tmp_path / "rows.json") == ROWS


def test_a_pattern_names_files_by_split(tmp_path):
    for name in ("train-0", "train-1", "test", "other"):
        write(tmp_path / f"{name}.csv", rows=[(name, "x")])
    splits = read_source(Data(path=str(tmp_path / "t*.csv"))).splits
    assert {split: rows["text"][:] for split, rows in splits.items()} == {
        "train": ["train-0", "train-1"],
        "test": ["test"],
    }
    assert "no file has such a name" in refusal(tmp_path / "q*.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".txt", ".parquet"])
def test_a_file_is_told_by_its_content_not_by_its_time(tmp_path, suffix):
    def write_with(word):
        frame = pd.DataFrame({"text": [word] * 3})
        if suffix == ".parquet":
            frame.to_parquet(file)
        else:
            line = {".csv": word, ".txt": word, ".jsonl": json.dumps({"text": word})}[suffix]
            file.write_text("\n".join(["text"] * (suffix == ".csv") + [line] * 3))
        os.utime(file, (1e9, 1e9))

    file = tmp_path / f"rows{suffix}"
    for word in ("old", "new"):
        write_with(word)
        assert read_source(Data(path=str(file))).splits["train"]["text"][:] == [word] * 3


@pytest.mark.parametrize("name", ["a[1].csv", "[ab].csv", "d::x.csv", "a b?.csv", "{a,b}*.csv"])
def test_the_name_of_a_file_is_no_pattern(tmp_path, name):
    write(tmp_path / "a.csv", rows=[("other", "x")])
    write(tmp_path / "a1.csv", rows=[("other", "x")])
    assert rows_of(write(tmp_path / name)) == ROWS


def test_what_fsspec_opens_is_read(tmp_path):
    memory = fsspec.filesystem("memory")
    for split in ("train", "test"):
        memory.pipe(f"/mine/{split}.csv", f"text,label\n{split},x\n".encode())
    for path in ("memory://mine", "memory://mine/*.csv"):
        splits = read_source(Data(path=path)).splits
        assert {split: rows["text"][:] for split, rows in splits.items()} == {
            "train": ["train"],
            "test": ["test"],
        }
    assert rows_of("memory://mine/train.csv") == [("train", "x")]
    memory.pipe("/mine/train.csv", b"text,label\nchanged,x\n")
    assert rows_of("memory://mine/train.csv") == [("changed", "x")]
    write(tmp_path / "rows.csv")
    assert rows_of(f"file://{tmp_path}/rows.csv") == ROWS
    memory.pipe("/twice/a/train.csv", b"text,label\na,x\n")
    memory.pipe("/twice/b/train.csv", b"text,label\nb,x\n")
    assert "two files there are called train.csv" in refusal("memory://twice")
    assert "there is no such file" in refusal("memory://mine/no.csv")
    assert "nowhere" in refusal("nowhere://mine/no.csv")


def test_rows_in_memory_become_a_source_by_their_content():
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    data = data_of(frame, test_fraction=0.5)
    assert rows_of(data.path) == ROWS
    assert data.test_fraction == 0.5
    assert data_of(frame.copy(), test_fraction=0.5) == data
    assert data_of(frame.iloc[1:]).path != data.path
    rows = Dataset.from_pandas(frame)
    splits = read_source(data_of(DatasetDict({"train": rows, "holdout": rows.select([1])}))).splits
    assert splits["holdout"]["text"][:] == [ROWS[1][0]]
    with pytest.raises(DataError, match="got list"):
        data_of([1, 2])


def test_images_in_memory_are_kept_with_their_bytes(tmp_path):
    files = []
    for number in range(6):
        files.append(str(tmp_path / f"{number}.png"))
        make_image(("red", "blue")[number % 2], number).save(files[-1])
    features = Features({"image": Image(), "label": ClassLabel(names=["red", "blue"])})
    rows = Dataset.from_dict({"image": files, "label": [0, 1] * 3}, features=features)
    data = data_of(rows)
    for file in tmp_path.iterdir():
        file.unlink()
    splits = load_splits(data, task_of(ImageClassification()))
    assert screen(splits, "error", lambda work: work()).label_names == ("red", "blue")


BAD = {
    "bytes": (b"text,label\nGr\xf6\xdfe,a\n", ".csv", "line 2: byte 0xF6 is not UTF-8"),
    "width": (b"text,label\na,b\nc,d,e\n", ".csv", "line 3 (row 1): 3 fields where the header has"),
    "quote": (b'text,label\n"a,b\nc,d\n', ".csv", "line 2: unexpected end of data"),
    "cut": (b'{"text": "a", "label": 1}\n{"text": "b", "la', ".jsonl", "line 2 is not JSON"),
    "mixed": (
        b'{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n',
        ".jsonl",
        "row 1: 'x' is text, where row 0 has numbers (1)",
    ),
    "json bytes": (
        b'{"text": "Gr\xf6\xdfe", "label": 1}\n{"text": "b", "label": 2}\n',
        ".jsonl",
        "line 1: byte 0xF6 is not UTF-8",
    ),
    "no object": (b'{"text": "a", "label": 1}\n[1]\n', ".jsonl", "line 2 holds list"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("command", ["train", "check"])
def test_bad_input_is_one_line_with_its_row_and_writes_nothing(case, command, tmp_path, capsys):
    content, suffix, expected = BAD[case]
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(content)
    out = ["--out", str(tmp_path / "run")] if command == "train" else []
    assert main([command, "mlp-text", "--data", str(file), *out]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1
    assert expected in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_number_that_float32_cannot_hold_is_a_bad_row():
    rows = Dataset.from_dict(
        {"features": [[1.0, 2.0], [3.0, 1e300], [np.inf, 1.0], [3e38, np.nan]]}
    )
    assert find_bad_rows(rows) == {
        1: "one of its numbers is too large for float32",
        2: "one of its numbers is infinite",
    }
