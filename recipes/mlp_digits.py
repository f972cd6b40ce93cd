"""A perceptron on scikit-learn's digits: what hand-written backpropagation reaches in a second."""

from ftkit import Augment, Data, Expect, Full, HeadOnly, ImageClassification, Mlp, Recipe, Train

recipe = Recipe(
    name="mlp-digits",
    description="perceptron by hand on scikit-learn's digits; needs no network",
    data=Data(path="embedded:digits"),
    backbone=Mlp(hidden=(64, 64), grey=True),
    task=ImageClassification(augment=Augment(crop=None, flip=False)),
    strategy=Full(learning_rate=3e-3),
    alternatives=(HeadOnly(learning_rate=3e-3),),
    train=Train(epochs=40, batch_size=32, weight_decay=0),
    expect=(
        Expect(
            strategy="full",
            mean=0.971,
            low=0.964,
            high=0.978,
            source="measure_expect.py mlp-digits --seeds 5, two CPU cores, commit 10c2191",
        ),
    ),
)
