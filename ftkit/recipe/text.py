"""What goes in and what comes out: texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ftkit.recipe.settings import Count, CountFromZero
from ftkit.recipe.task import ClassSettings, NumberSettings, TagSettings, TaskSettings

MaxLength = Annotated[int, Field(ge=8)] | None


class TextSettings(TaskSettings):
    """What tasks have that read whole texts, or pairs of texts."""

    noun = "texts"

    text: str | None = None
    """Column with the text; found by itself when only one column can be meant."""
    pair: str | None = None
    """Column with a second text, which the backbone reads behind the first; none when not given."""
    max_length: MaxLength = None
    """Tokens after which a text is cut off; the most that the backbone takes, up to 512, when not
    given. Not for Mlp, which takes all of it."""


class TextClassification(ClassSettings, TextSettings):
    """One text, or a pair of texts, in, one of C classes out."""

    for_perceptrons = True

    kind: Literal["text-classification"] = "text-classification"


class TextTagging(TagSettings, TextSettings):
    """One text, or a pair of texts, in, any number of C classes out: none, one or several."""

    pipeline = "text-classification"

    kind: Literal["text-tagging"] = "text-tagging"


class TextRegression(NumberSettings, TextSettings):
    """One text, or a pair of texts, in, one number out."""

    pipeline = "text-classification"

    kind: Literal["text-regression"] = "text-regression"


class TokenClassification(TaskSettings):
    """The words of a text in, a class for each out: names, parts of speech."""

    noun = "texts"
    figures = ("f1", "precision", "recall", "accuracy")
    tells = "words"

    kind: Literal["token-classification"] = "token-classification"
    tokens: str | None = None
    """Column with the list of words; found by itself when only one column can be meant."""
    label: str | None = None
    """Column with the list of classes, one for each word, such as B-PER, I-PER and O; found by
    itself when only one column can be meant."""
    max_length: MaxLength = None
    """Tokens after which a text is cut off; the most that the backbone takes, up to 512, when not
    given."""


class LanguageModelling(TaskSettings):
    """Text in, the next token out: further pre-training, or answers to instructions."""

    noun = "texts"
    figures = ("perplexity", "token_accuracy")
    chosen_by = "perplexity"
    tells = "continuation"

    kind: Literal["text-generation"] = "text-generation"
    text: str | None = None
    """Column with plain text; found by itself when only one column can be meant."""
    messages: str | None = None
    """Column with conversations, lists of {"role": ..., "content": ...}, put into the backbone's
    own chat template, or a plain one where it has none; the loss is on the assistant's answers
    alone."""
    prompt: str | None = None
    """Column with an instruction, and `answer` that with its answer: a conversation of two."""
    answer: str | None = None
    """Column with the answer to `prompt`; the loss is on it alone."""
    max_length: MaxLength = None
    """Tokens of a row; the most that the backbone takes, up to 512, when not given. A longer text
    becomes several rows, a longer conversation is cut off there."""
    pack: bool = True
    """Put several texts into one row of training up to `max_length`, each blind to the others,
    instead of filling rows up with padding; `train.batch_size` then counts such rows."""
    answers: CountFromZero = 16
    """Test conversations that the trained model writes an answer for, to be read in
    predictions.parquet."""
    max_new_tokens: Count = 64
    """Tokens after which such an answer is cut off."""

    @model_validator(mode="after")
    def _rows_have_one_form(self) -> LanguageModelling:
        if (self.prompt is None) != (self.answer is None):
            raise ValueError("prompt and answer go together; give both columns")
        if sum(form is not None for form in (self.text, self.messages, self.prompt)) > 1:
            raise ValueError("give one of text, messages, and prompt with answer")
        return self


class Translation(TaskSettings):
    """One text in, another text out, by an encoder and a decoder."""

    noun = "texts"
    figures = ("bleu", "chrf", "perplexity")
    chosen_by = "perplexity"
    tells = "translation"

    kind: Literal["translation"] = "translation"
    source: str | None = None
    """Column with the text to translate, or the language's code in a column `translation`."""
    target: str | None = None
    """Column with its translation, or the language's code in a column `translation`."""
    source_language: str | None = None
    """Code that the tokenizer knows the source's language by, as eng_Latn or en_XX; only for
    backbones of many languages."""
    target_language: str | None = None
    """Code that the tokenizer knows the target's language by, as deu_Latn or de_DE; only for
    backbones of many languages."""
    prefix: str = ""
    """What stands before every source text, such as "translate English to German: " for T5."""
    max_length: MaxLength = None
    """Tokens after which source and target are cut off; the most that the backbone takes, up to
    512, when not given."""
    beams: Annotated[int, Field(gt=0, le=1_000)] = 4
    """Beams of the search for test translations; 1 is greedy."""
