"""Texts and conversations to tokens: what is told, what is cut, what shares a row."""

import json

import language_checkpoints as tiny
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ftkit import Backbone, Data, DataError, LanguageModelling, ModelError, Recipe, Train
from ftkit.backbones.pretrained import load_model
from ftkit.finetuning.finetune import make_ready
from ftkit.machine import runtime
from ftkit.tasks import task_of
from ftkit.tasks.chat import encode, end_of_turn, give_template
from ftkit.tasks.inputs import NO_LABEL
from ftkit.tasks.packing import pack, why_not_packed
from ftkit.tasks.token_rows import Tokens, cut_texts
from ftkit.tasks.writing import next_token_loss

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is a dog a cat?"},
    {"role": "assistant", "content": "No, a dog is a dog."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "  Still not\n"},
]


def told(tokenizer, messages):
    """Return the texts that the marked tokens spell, one for each run of them."""
    ids, counted = encode(tokenizer, messages)
    runs, before = [], False
    for token, mark in zip(ids, counted, strict=True):
        if mark and not before:
            runs.append([])
        if mark:
            runs[-1].append(token)
        before = mark
    return ids, [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("template", [tiny.CHATML, tiny.MARKED], ids=["prefixes", "marked"])
def test_the_answers_and_their_ends_are_told_and_nothing_else(template):
    tokenizer = tiny.byte_tokenizer(template)
    ids, answers = told(tokenizer, TALK)
    assert answers == ["No, a dog is a dog.<|im_end|>", "  Still not\n<|im_end|>"]
    assert ids == tokenizer.apply_chat_template(TALK)["input_ids"]


def test_without_a_template_answers_end_in_the_end_of_text():
    tokenizer = tiny.byte_tokenizer()
    size = len(tokenizer)
    assert give_template(tokenizer)
    ids, answers = told(tokenizer, TALK)
    assert answers == ["No, a dog is a dog.<|endoftext|>", "  Still not\n<|endoftext|>"]
    assert tokenizer.decode(ids).startswith("### system\nBe brief.\n\n### user\nIs a dog a cat?")
    assert len(tokenizer) == size
    assert not give_template(tokenizer)
    assert end_of_turn(tokenizer) == tokenizer.eos_token_id


def test_a_tokenizer_that_cannot_end_an_answer_is_refused():
    tokenizer = tiny.byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no chat template and no end-of-text token"):
        give_template(tokenizer)


def test_a_token_that_joins_prompt_and_answer_is_not_told():
    tokenizer = tiny.byte_tokenizer(tiny.CHATML)
    talk = [*TALK[:2], {"role": "assistant", "content": "\n\nNo."}]
    joined = tokenizer("\n\n", add_special_tokens=False)["input_ids"]
    assert len(joined) == 1
    ids, answers = told(tokenizer, talk)
    assert joined[0] in ids
    assert answers == ["\nNo.<|im_end|>"]


def test_a_template_that_writes_earlier_turns_anew_is_refused():
    last = tiny.CHATML.replace(
        "message['content'] +", "(message['content'] if loop.last else '...') +"
    )
    with pytest.raises(DataError, match="writes message 3 in another way when more"):
        encode(tiny.byte_tokenizer(last), TALK)


def test_what_a_template_refuses_is_said_in_its_words():
    strict = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="refuses it: roles must alternate"):
        encode(tiny.byte_tokenizer(strict), TALK)


@pytest.mark.parametrize("most", [8, 9, 50])
def test_a_long_text_is_cut_and_every_token_but_the_first_told_once(most):
    tokenizer = tiny.byte_tokenizer()
    texts = [" ".join(tiny.SENTENCES), "a", "The dog."]
    pieces = list(cut_texts(texts, tokenizer, most))
    for row, text in enumerate(texts):
        mine = [piece for piece in pieces if piece.row == row]
        whole = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        assert max(len(piece.ids) for piece in mine) <= most
        assert all(piece.labels[0] == NO_LABEL for piece in mine)
        labels = torch.cat([piece.labels for piece in mine])
        assert labels[labels != NO_LABEL].tolist() == whole[1:]


def test_packing_fills_rows_and_loses_nothing():
    lengths = np.random.default_rng(0).integers(1, 65, 300).tolist()
    rows = pack(lengths, 64)
    assert sorted(place for row in rows for place in row) == list(range(300))
    assert max(sum(lengths[place] for place in row) for row in rows) <= 64
    assert len(rows) <= 1.1 * np.ceil(sum(lengths) / 64)


def load(family, folder, template=None, scale=10.0):
    tiny.make(family, folder, template, scale)
    return load_model(Backbone(id=str(folder)), (), 0, task_of(LanguageModelling()))


def inputs_of(batch):
    return {name: value for name, value in batch.items() if name not in ("labels", "index")}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neox"])
def test_a_packed_batch_has_the_loss_of_its_texts_alone(family, tmp_path):
    import datasets

    model, tokenizer = load(family, tmp_path)
    assert why_not_packed(model) is None
    rows = datasets.Dataset.from_dict({"text": tiny.SENTENCES})
    pieces = list(cut_texts(tiny.SENTENCES, tokenizer, 64))
    groups = pack([len(piece.ids) for piece in pieces], 30)
    assert max(map(len, groups)) > 1
    assert len({sum(len(pieces[place].ids) for place in group) for group in groups}) > 1
    packed = Tokens(pieces, rows, tokenizer, groups, packed=True)
    batch = packed.collate([packed[place] for place in range(len(packed))])
    count = int((batch["labels"] != NO_LABEL).sum())
    with torch.inference_mode():
        together = next_token_loss(model(**inputs_of(batch)), batch["labels"], count)
        logits = [model(piece.ids[None]).logits[0, :-1] for piece in pieces]
        nats = [
            F.cross_entropy(found, piece.ids[1:], reduction="sum")
            for found, piece in zip(logits, pieces, strict=True)
        ]
        seen = model(input_ids=batch["input_ids"]).logits  # as if it were one long text
    assert count == sum(len(piece.ids) - 1 for piece in pieces)
    assert float(together) == pytest.approx(float(sum(nats)) / count, abs=1e-4)
    leaky = float(next_token_loss({"logits": seen}, batch["labels"], count))
    assert abs(leaky - float(together)) > 1e-2


def test_rows_of_unequal_length_are_padded_without_effect(tmp_path):
    import datasets

    model, tokenizer = load("gpt2", tmp_path)
    rows = datasets.Dataset.from_dict({"text": tiny.SENTENCES})
    plain = Tokens(list(cut_texts(tiny.SENTENCES, tokenizer, 64)), rows, tokenizer)
    batch = plain.collate([plain[0], plain[1]])
    assert batch["attention_mask"].sum(1).tolist() == [len(plain[n]["input_ids"]) for n in (0, 1)]
    with torch.inference_mode():
        both = model(**inputs_of(batch)).logits
        for row in (0, 1):
            alone = model(plain[row]["input_ids"][None]).logits[0]
            assert torch.allclose(both[row, : len(alone)], alone, atol=1e-4)


def test_a_family_without_positions_is_padded_and_says_why(tmp_path, caplog):
    tiny.make("bloom", tmp_path / "model")
    (tmp_path / "rows.txt").write_text("\n".join(tiny.SENTENCES * 4))
    recipe = Recipe(
        name="bloom",
        data=Data(path=str(tmp_path / "rows.txt")),
        backbone=Backbone(id=str(tmp_path / "model")),
        task=LanguageModelling(),
    )
    with caplog.at_level("INFO", logger="ftkit"):
        ready = make_ready(recipe, runtime.start(0))
    assert "not packed, rows are filled up with padding: BloomForCausalLM takes" in caplog.text
    assert not ready.inputs.train.packed
    assert not ready.task.settings.pack
    assert ready.task.settings.text == "text"


def test_texts_that_would_see_each_other_are_found_by_trying(tmp_path, monkeypatch):
    model, _ = load("llama", tmp_path)
    forward = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, position_ids=None, **inputs: forward(self, **inputs),
    )
    assert "see each other" in why_not_packed(model)


def test_a_model_that_sees_what_follows_is_refused(tmp_path):
    with pytest.raises(ModelError, match="BertLMHeadModel sees the words that follow"):
        load("bert", tmp_path)


def test_the_loss_agrees_with_transformers_own_and_smooths_labels(tmp_path):
    model, tokenizer = load("llama", tmp_path)
    ids = torch.tensor([tokenizer(tiny.SENTENCES[0])["input_ids"]])
    labels = ids.clone()
    labels[0, :3] = NO_LABEL
    with torch.inference_mode():
        outputs = model(input_ids=ids, labels=labels)
        assert float(next_token_loss(outputs, labels)) == pytest.approx(
            float(outputs.loss), abs=1e-5
        )
        smooth = F.cross_entropy(outputs.logits[0, 2:-1], ids[0, 3:], label_smoothing=0.1)
        assert float(next_token_loss(outputs, labels, None, 0.1)) == pytest.approx(float(smooth))


def test_conversations_are_cut_and_what_has_no_answer_left_is_not_trained_on(tmp_path, caplog):
    tiny.make("llama", tmp_path / "model", tiny.CHATML)
    long = [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "yes"}]
    short = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [{"messages": long}] * 4 + [{"messages": short}] * 12
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("validation", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows[3:6])))
    recipe = Recipe(
        name="cut",
        data=Data(path=str(tmp_path / "*.jsonl")),
        backbone=Backbone(id=str(tmp_path / "model")),
        task=LanguageModelling(max_length=32, pack=False),
        train=Train(batch_size=4),
    )
    with caplog.at_level("INFO", logger="ftkit"):
        ready = make_ready(recipe, runtime.start(0))
    assert "train: 25.0 % of the conversations are longer than 32 tokens" in caplog.text
    assert "train: 4 rows have nothing to be predicted in their first 32 tokens" in caplog.text
    assert len(ready.inputs.train) == 12
    assert len(ready.inputs.test) == len(ready.inputs.test.labels) == 3
    assert ready.model.generation_config.eos_token_id == [0, 2]  # end of text, end of turn


def test_rows_that_leave_nothing_to_tell_are_refused(tmp_path):
    tiny.make("llama", tmp_path / "model", tiny.CHATML)
    long = [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "yes"}]
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps({'messages': long})}\n" * 12)
    recipe = Recipe(
        name="long",
        data=Data(path=str(tmp_path / "rows.jsonl")),
        backbone=Backbone(id=str(tmp_path / "model")),
        task=LanguageModelling(max_length=32),
    )
    with pytest.raises(
        DataError, match="no train row has a token to be predicted within 32 tokens"
    ):
        make_ready(recipe, runtime.start(0))
