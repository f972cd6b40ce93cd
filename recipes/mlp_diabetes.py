"""A perceptron with mean squared error on scikit-learn's diabetes data: a number, not a class."""

from ftkit import Data, Expect, Full, HeadOnly, Mlp, Recipe, TabularRegression, Train

recipe = Recipe(
    name="mlp-diabetes",
    description="perceptron by hand, regression, on 442 patients; needs no network",
    data=Data(path="embedded:diabetes", validation_fraction=0.2),
    backbone=Mlp(hidden=(32,), activation="tanh", update="adamw"),
    task=TabularRegression(label="target"),
    strategy=Full(learning_rate=1e-3),
    alternatives=(HeadOnly(learning_rate=1e-3),),
    train=Train(epochs=60, batch_size=32, weight_decay=0.1),
    expect=(
        Expect(
            strategy="full",
            metric="r2",
            mean=0.478,
            low=0.448,
            high=0.518,
            source="measure_expect.py mlp-diabetes --seeds 5, two CPU cores, commit 4b29f54",
        ),
    ),
)
