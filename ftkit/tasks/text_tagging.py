"""A text, or a pair of texts, in, any number of classes out: none, one or several."""

from ftkit.tasks.tags import Tags
from ftkit.tasks.texts import Texts


class TextTagging(Tags, Texts):
    """Any number of C classes for each text."""
