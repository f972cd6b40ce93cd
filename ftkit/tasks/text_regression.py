"""A text, or a pair of texts, in, one number out."""

from ftkit.tasks.numbers import Numbers
from ftkit.tasks.texts import Texts


class TextRegression(Numbers, Texts):
    """One number for each text."""
