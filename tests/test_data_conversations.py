"""Texts and conversations that cannot be read are named."""

import language_checkpoints as tiny
import pyarrow.parquet as pq
import pytest
from conftest import leave_unverified
from datasets import Features, List, Value
from talks import models_in, recipe_of, write_rows
from transformers import AutoTokenizer

from ftkit import (
    DataError,
    LanguageModelling,
    finetune,
)
from ftkit.tasks.language_columns import asked_columns


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return models_in(tmp_path_factory.mktemp)


BAD = {
    "no conversation": ("[]", r"row 5: no message is the assistant's"),
    "an unknown role": (
        '[{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]',
        r"row 5: message 2 has role 'bot'; roles are system, user, assistant, tool",
    ),
    "a text": ('"hello"', r"row 5: no message is the assistant's"),
    "a number": (
        '[{"role": "user", "content": 3}, {"role": "assistant", "content": "b"}]',
        r"row 5: message 1, of the user, has no text",
    ),
    "an empty answer": (
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]',
        r"row 5: message 2, of the assistant, has no text",
    ),
    "nobody asks": (
        '[{"role": "assistant", "content": "a"}]',
        r"row 5: the assistant speaks first, so there is nothing to answer",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_is_no_conversation_is_named(bad, files, models, tmp_path):
    row, said = BAD[bad]
    lines = files["talks"].read_text().splitlines()
    lines[5] = f'{{"messages": {row}, "source": "here"}}'
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    recipe = recipe_of(models("llama", tiny.CHATML), tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match=said):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("role", ["text", "prompt", "messages"])
def test_a_column_of_numbers_that_was_asked_for_is_refused(role):
    features = Features({"n": Value("int64"), "t": Value("string"), "l": List(Value("int64"))})
    asked = {"prompt": "n", "answer": "t"} if role == "prompt" else {role: "n"}
    with pytest.raises(DataError, match=r"^column 'n' holds .*int64.*, not (texts|lists of)"):
        asked_columns(LanguageModelling(**asked), features)


def test_a_line_cut_in_half_is_named(files, models, tmp_path):
    lines = files["talks"].read_text().splitlines()
    lines[5] = lines[5][: len(lines[5]) // 2]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 6 is not JSON"):
        finetune(recipe_of(models("llama", tiny.CHATML), tmp_path / "rows.jsonl"), tmp_path / "run")


def test_a_row_of_a_million_characters_is_measured_whole(models, tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    rows = [*tiny.SENTENCES * 4, " ".join(tiny.SENTENCES * 4600)]
    assert len(rows[-1]) > 1_000_000
    for name, part in (("train", rows[:-1]), ("validation", rows[:3]), ("test", rows[-1:])):
        (tmp_path / f"{name}.txt").write_text("\n".join(part))
    recipe = recipe_of(models("gpt2"), tmp_path / "*.txt").override({"train.max_steps": 1})
    result = finetune(recipe, tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert result.n == 1
    assert table["tokens"] == [len(tokenizer(rows[-1], verbose=False)["input_ids"])]
    assert len(table["text"][0]) < 1100
