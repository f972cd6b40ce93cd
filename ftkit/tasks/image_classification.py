"""An image in, one class out."""

from ftkit.tasks.images import Images


class ImageClassification(Images):
    """One class out of C for each image."""
