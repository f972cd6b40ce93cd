"""What goes in and what comes out: images, and rows of numbers. Texts are in `text`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from ftkit.recipe.settings import Settings

CLASSIFICATION = ("accuracy", "balanced_accuracy", "macro_f1", "matthews", "auroc")
REGRESSION = ("r2", "rmse", "mae")
NUMBERS = (*REGRESSION, "pearson", "spearman")
Answer = Literal["class", "tags", "number", "words", "translation", "continuation"]
"""One class out of C, any number of classes, a number, a class for each word, or text."""


class TaskSettings(Settings):
    """What every task says of itself."""

    section = "task"
    kind: str
    noun: ClassVar[str] = "rows"
    """What a row is called."""
    figures: ClassVar[tuple[str, ...]] = CLASSIFICATION
    """What is measured. A table of runs shows the first, and paired tests compare it: accuracy for
    a class, as `ftkit.compare.row_statistics.READERS` reads it from predictions.parquet."""
    chosen_by: ClassVar[str | None] = None
    """The validation figure that picks the checkpoint to keep; the first of `figures` if None."""
    loss: ClassVar[str] = "cross-entropy (nats)"
    """What training makes small."""
    pipeline: ClassVar[str | None] = None
    """The Hub's name of the task; `kind` if None."""
    tells: ClassVar[Answer] = "class"
    """What is predicted for each row. By it the fresh process, the report, paired tests, baselines
    and `predict` know what to ask and to show: look for its uses before a task differs in it."""
    for_backbones: ClassVar[bool] = True
    """Whether a pretrained backbone can do it."""
    for_perceptrons: ClassVar[bool] = False

    @property
    def writes(self) -> bool:
        """Whether it is done by writing text, with the head that the backbone was trained with."""
        return self.tells in ("translation", "continuation")


class Augment(Settings):
    """Random changes to training images. Evaluation sees none of them."""

    section = "task.augment"

    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = (
        0.5,
        1.0,
    )
    """Smallest and largest share of the image's area that a random crop keeps."""
    flip: bool = True
    """Mirror left and right half of the time. Wrong for digits, text and road signs."""
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0
    """Magnitude of RandAugment with two operations (Cubuk et al. 2020); 0 is off, 9 is usual."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of mixup (Zhang et al. 2018); 0 is off, 0.2 is usual."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha of CutMix (Yun et al. 2019); 0 is off, 1.0 is usual."""

    @model_validator(mode="after")
    def _crop_is_ordered(self) -> Augment:
        if self.crop is not None and self.crop[0] > self.crop[1]:
            raise ValueError("crop gives the smaller share first, as in (0.5, 1.0)")
        return self


class ImageSettings(TaskSettings):
    """What tasks have that read images."""

    noun = "images"

    image: str | None = None
    """Column with the image; found by itself when only one column can be meant."""
    augment: Augment = Augment()
    """Random changes to training images."""


class TableSettings(TaskSettings):
    """What tasks have that read columns of numbers and words."""

    for_backbones = False
    for_perceptrons = True

    columns: tuple[str, ...] | None = None
    """Columns that are inputs. They hold numbers, or few different words; when not given, all such
    columns but the label are taken."""
    categories: dict[str, tuple[str, ...]] = Field(default={})
    """The words of each column that training rows have; each word is an input of 0 or 1."""
    read_levels: bool | Literal["auto"] = "auto"
    """Columns of 4 to 20 different whole numbers are also read as categories: each of these numbers
    is an input of 0 or 1, beside the number itself. By `auto` they are where that helps a linear
    model to tell training rows that were held out."""
    levels: dict[str, tuple[int, ...]] = Field(default={})
    """The whole numbers of each such column that training rows have."""
    gaps: tuple[str, ...] = ()
    """Columns of numbers in which training rows have gaps: whether there is one is an input too."""


class ClassSettings(TaskSettings):
    """What tasks have that predict one class for each row."""

    label: str | None = None
    """Column with the class; found by itself when only one column can be meant."""


class NumberSettings(TaskSettings):
    """What tasks have that predict a number for each row."""

    figures: ClassVar[tuple[str, ...]] = NUMBERS
    loss = "mean squared error"
    tells = "number"

    label: str | None = None
    """Column with the number to be predicted; found by itself when only one column can be meant."""


class TagSettings(TaskSettings):
    """What tasks have that predict any number of classes for each row: none, one or several."""

    figures = ("micro_f1", "macro_f1", "auroc", "accuracy")
    loss = "binary cross-entropy (nats)"
    tells = "tags"

    label: str | None = None
    """Column with the list of classes of each row; found by itself when only one can be meant."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between the classes where `label` is a column of texts, as ; in good;long; a row
    without text then has none of them."""
    labels: tuple[str, ...] | None = None
    """Instead of `label`: columns of 0 and 1, one for each class."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability above which a class is predicted; when not given, the one with the best micro-F1
    on the validation rows, or one half where they have too few labels to choose."""

    @model_validator(mode="after")
    def _labels_stand_in_one_place(self) -> TagSettings:
        if self.label is not None and self.labels is not None:
            raise ValueError("give label, one column of lists, or labels, a column for each class")
        return self


class ImageClassification(ClassSettings, ImageSettings):
    """One image in, one of C classes out."""

    for_perceptrons = True

    kind: Literal["image-classification"] = "image-classification"


class ImageTagging(TagSettings, ImageSettings):
    """One image in, any number of C classes out: none, one or several."""

    pipeline = "image-classification"

    kind: Literal["image-tagging"] = "image-tagging"


class ImageRegression(NumberSettings, ImageSettings):
    """One image in, one number out."""

    pipeline = "image-classification"

    kind: Literal["image-regression"] = "image-regression"


class TabularClassification(ClassSettings, TableSettings):
    """A row of numbers and categories in, one of C classes out."""

    kind: Literal["tabular-classification"] = "tabular-classification"


class TabularRegression(NumberSettings, TableSettings):
    """A row of numbers and categories in, one number out."""

    figures = REGRESSION

    kind: Literal["tabular-regression"] = "tabular-regression"
