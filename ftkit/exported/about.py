"""What an exported file says of itself: `About`, which is written into the file's own metadata.

So the file can be sent by itself; with texts the tokenizer.json lies beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ftkit.errors import ModelError

KEY = "ftkit"
"""The name under which it stands in the metadata of an ONNX file, and in those of OpenVINO."""
FORMAT = 1
"""It counts up when a file could no longer be read as before."""

Reads = Literal["images", "text", "words", "table", "ngrams"]
Tells = Literal["class", "tags", "number", "words"]


@dataclass(frozen=True)
class Column:
    """A column of a table, and what its cell becomes among the file's inputs."""

    name: str
    words: tuple[str, ...] = ()
    """Of a column of words, those that training has. The input is the place of the word among
    them, counted from 0, and -1 for any other. Without words the input is the number, and NaN where
    there is none."""


@dataclass(frozen=True)
class Ngrams:
    """How a text becomes counts of its character n-grams, see `ftkit.exported.ngrams`."""

    shortest: int
    longest: int
    buckets: int


@dataclass(frozen=True)
class About:
    """What goes into a file, what comes out, and which model it was made of."""

    reads: Reads
    """What a row is: an image, a text or a pair of texts, the words of a text, a row of a table, or
    a text as n-grams."""
    tells: Tells
    """What is predicted: one class, any number of classes, a number, or a class for each word."""
    task: str
    """Its kind in a recipe, such as image-classification."""
    classes: tuple[str, ...] = ()
    """In the order of the probabilities."""
    threshold: float = 0.5
    """The probability above which one of any number of classes is predicted."""
    pair: bool = False
    """A row is two texts."""
    max_tokens: int | None = None
    """Longer texts are cut off there."""
    tokens: tuple[str, ...] = ()
    """The inputs that the tokenizer fills."""
    padding: Mapping[str, Any] = field(default_factory=dict)
    """What fills short texts up: pad_id, pad_type_id, and `right`, whether it stands behind them.
    """
    columns: tuple[Column, ...] = ()
    ngrams: Ngrams | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The type and shape of each input, for people."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    """int8, where weights are whole numbers of eight bits."""
    recipe: str = ""
    recipe_sha256: str = ""
    """Of recipe.json of the run, as it lies there."""
    model_sha256: Mapping[str, str] = field(default_factory=dict)
    """The checksum of each file of the run's model."""
    made_by: str = ""
    """The versions that made the file."""
    format: int = FORMAT

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, where: str) -> About:
        """Return what `to_json` wrote.

        Args:
            where: names the file in a message.

        Raises:
            ModelError: there is none, or it is of another version or damaged.
        """
        if not text:
            raise ModelError(f"{where} was not exported by ftkit: it does not say what it reads")
        try:
            values = json.loads(text)
            version = values.get("format")
            if version != FORMAT:
                raise ModelError(
                    f"{where} has format {version!r}, and this ftkit reads {FORMAT}: export the "
                    f"run again"
                )
            for name in ("classes", "tokens"):
                values[name] = tuple(values[name])
            columns = (Column(one["name"], tuple(one["words"])) for one in values["columns"])
            values["columns"] = tuple(columns)
            values["ngrams"] = values["ngrams"] and Ngrams(**values["ngrams"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{where} does not say what it reads: {error!r}") from None
