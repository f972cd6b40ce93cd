"""An image in, one class out."""

from ftkit.tasks.images import Images


class ImageClassification(Images):
    """One class out of C for each image."""

    for_numbers = """to predict numbers use --set 'task={"kind": "image-regression"}'"""
    for_several = """several classes a row need --set 'task={"kind": "image-tagging"}'"""
