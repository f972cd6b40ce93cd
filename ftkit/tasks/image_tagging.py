"""An image in, any number of classes out: none, one or several."""

from ftkit.tasks.images import Images
from ftkit.tasks.tags import Tags


class ImageTagging(Tags, Images):
    """Any number of C classes for each image."""
