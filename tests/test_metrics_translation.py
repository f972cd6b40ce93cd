"""BLEU, chrF and perplexity against sacrebleu itself, and their intervals."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from ftkit import Translation
from ftkit.tasks import task_of
from ftkit.tasks.metrics.translation import Overlap, Translated, chrf_counts, chrf_of, tokenizer_of

REFERENCES = [
    "Zwei junge Männer sind im Freien in der Nähe vieler Büsche.",
    "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
    "Ein Hut.",
    "ja",
    "",
]
TEXTS = [
    "Zwei Männer sind im Freien in der Nähe von Büschen.",
    "Ein Mann mit einem Hut, der etwas anstarrt.",
    "Ein Hut.",
    "",
    "nichts",
]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    found = Overlap().compute(predictions=TEXTS, references=REFERENCES)
    assert found["bleu"] == BLEU().corpus_score(TEXTS, [REFERENCES]).score > 10
    assert found["chrf"] == CHRF().corpus_score(TEXTS, [REFERENCES]).score > 10
    perfect = Overlap().compute(predictions=REFERENCES, references=REFERENCES)
    assert perfect["bleu"] == pytest.approx(100)
    assert perfect["chrf"] == pytest.approx(100)


def test_counts_of_any_sentences_give_their_figures():
    overlap = Overlap()
    bleu, chrf = overlap.bleu_counts(TEXTS, REFERENCES), chrf_counts(TEXTS, REFERENCES)
    random = np.random.default_rng(0)
    for _ in range(20):
        drawn = random.integers(0, len(TEXTS), len(TEXTS))
        some, others = ([part[i] for i in drawn] for part in (TEXTS, REFERENCES))
        expected = BLEU().corpus_score(some, [others]).score
        assert overlap.bleu_of(bleu[drawn].sum(0)) == pytest.approx(expected)
        expected = CHRF().corpus_score(some, [others]).score
        assert chrf_of(chrf[drawn].sum(0)) == pytest.approx(expected)
    single = [CHRF().sentence_score(a, [b]).score for a, b in zip(TEXTS, REFERENCES, strict=True)]
    assert chrf_of(chrf) == pytest.approx(single)


def outputs(texts=TEXTS):
    losses = np.array([2.0, 9.0, 1.0, 0.5, 3.0])
    return Translated(losses, np.array([4, 6, 2, 1, 1]), None if texts is None else tuple(texts))


def test_perplexity_is_over_all_tokens():
    found = task_of(Translation()).score(np.array(REFERENCES, object), outputs(None))
    assert found == {
        "loss": pytest.approx(15.5 / 14),
        "perplexity": pytest.approx(np.exp(15.5 / 14)),
    }


def test_intervals_hold_the_figure_and_narrow_with_more_sentences():
    labels = np.array(REFERENCES * 40, object)
    once = outputs()
    many = Translated(np.tile(once.losses, 40), np.tile(once.tokens, 40), tuple(TEXTS * 40))
    few = task_of(Translation()).measure(np.array(REFERENCES, object), once)
    found = task_of(Translation()).measure(labels, many)
    assert list(found) == ["bleu", "chrf", "perplexity"]
    for name, figure in found.items():
        assert figure.low < figure.value < figure.high
        assert figure.high - figure.low < few[name].high - few[name].low
    assert found == task_of(Translation()).measure(labels, many)  # the same seed
    assert found["bleu"].signature == str(Overlap().bleu.get_signature())
    assert "tok:13a" in found["bleu"].signature
    assert "version" in found["chrf"].signature


@pytest.mark.parametrize(
    ("task", "tokenizer"),
    [
        (Translation(target="de"), "13a"),
        (Translation(target="translation.zh"), "zh"),
        (Translation(target="text", target_language="zho_Hans"), "zh"),
        (Translation(target_language="ja_XX"), "char"),
    ],
)
def test_words_are_parted_as_the_language_asks(task, tokenizer):
    assert tokenizer_of(task) == tokenizer
