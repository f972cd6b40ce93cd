"""An image in, one number out."""

from ftkit.tasks.images import Images
from ftkit.tasks.numbers import Numbers


class ImageRegression(Numbers, Images):
    """One number for each image."""
