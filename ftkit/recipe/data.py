"""Where labelled rows come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from ftkit.errors.addresses import shown
from ftkit.recipe.settings import Count, Settings


def one_or_more(value: Any) -> Any:
    """Return a name alone as a tuple of one, so that --set takes it without brackets."""
    return (value,) if isinstance(value, str) else value


class Data(Settings):
    """Where labelled rows come from."""

    section = "data"

    path: str = Field(min_length=1)
    """Hub data set id, a folder of class folders, a parquet/CSV/JSONL/text file, a pattern such
    as rows/*.csv or a folder of them, a URL (https://, s3://, hf://), or `embedded:digits`. Of a
    URL, scheme, host and path alone are printed and written."""
    config: str | None = None
    """Configuration (subset) of a Hub data set."""
    revision: str | None = None
    """Commit, tag or branch of a Hub data set."""
    encoding: str | None = None
    """How the characters of a CSV, JSON or text file are written, as in latin-1; UTF-8, or UTF-16
    where the file says so, when not given."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """What stands between the fields of a CSV file; found out from , ; tab | when not given."""
    decimal: Literal[".", ","] | None = None
    """What stands before the fraction of a number in a CSV file; found out when not given."""
    as_text: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """Columns whose values are text, or names of classes, as they are written, though they look
    like numbers."""
    images: str | None = None
    """Where the image files lie that a table names: a folder, or a pattern such as photos/*.jpg in
    which * is the name; from the table's own folder."""
    outside: bool = False
    """Read image files that a table names outside of the data's folder, by .., a whole path or a
    link. Only for tables of your own, since one of others may name any file of yours."""
    folders: Literal["auto", "classes"] = "auto"
    """Whether folders called train, test and so on may be splits; `classes`: each is a class."""
    split_column: str | None = None
    """Column that says the split of each row: train, validation or test, or other names."""
    train: str = "train"
    """Name of the training split, or a part of one, as in train[:80%] or train[1000:2000]."""
    validation: str = "validation"
    """Name of the validation split, or a part; cut from train when the data has none."""
    test: str = "test"
    """Name of the test split, or a part; cut from train when the data has none."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training rows that becomes the validation split when there is none."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training rows that becomes the test split when there is none."""
    train_rows: Count | None = None
    """Use only so many training rows, drawn by `split_seed`, and by class where there are any."""
    validation_rows: Count | None = None
    """Use only so many validation rows."""
    test_rows: Count | None = None
    """Use only so many test rows."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of what is drawn from the rows: which are cut off for validation and test, and which a
    limit leaves. Apart from `train.seed`, so that runs of several seeds have the same rows, and
    nothing that was chosen with one is tested on rows that took part in the choice."""
    group: str | None = None
    """Column of which rows with equal values stay together, as those of one patient or author;
    nothing else is learned from it."""
    copies: Literal["together", "apart"] = "together"
    """Whether rows with equal inputs stay on one side of a cut, texts also where they differ in
    case, spaces and punctuation alone. Where `group` is given, it decides instead."""
    stream: bool = False
    """Of a Hub data set that is larger than the disk, keep only the rows that `train_rows` and the
    others ask for, taken as they come."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a row that cannot be read does: stop before training, or be left out and listed."""

    @field_serializer("path", when_used="json")
    def _without_secrets(self, path: str) -> str:
        return shown(path)

    @model_validator(mode="after")
    def _a_stream_has_an_end(self) -> Data:
        if self.stream and self.train_rows is None:
            raise ValueError("stream: say how many rows to take, by train_rows")
        return self


def as_drawn_before(values: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's JSON that an earlier version wrote, with the settings that draw its rows.

    Versions without `data.split_seed` drew all rows by `train.seed`, and each by itself. What they
    wrote is known by having every other setting; of anything else the values are as given.
    """
    data, train = values.get("data"), values.get("train")
    if not isinstance(data, dict) or "validation_fraction" not in data or "split_seed" in data:
        return values
    seed = train.get("seed", 0) if isinstance(train, dict) else 0
    return {**values, "data": {**data, "split_seed": seed, "copies": "apart"}}
