"""A perceptron on hashed character n-grams: which of 12 languages a name is in."""

from ftkit import Data, Expect, Full, HeadOnly, Mlp, Recipe, TextClassification, Train

recipe = Recipe(
    name="mlp-text",
    description="perceptron by hand on character n-grams: the language of a name; no network",
    data=Data(path="embedded:langid"),
    backbone=Mlp(hidden=(128,), update="adamw", dropout=0.2, ngrams=(1, 4), buckets=4096),
    task=TextClassification(),
    strategy=Full(learning_rate=2e-3),
    alternatives=(HeadOnly(learning_rate=2e-3),),
    train=Train(epochs=12, batch_size=64, weight_decay=0.05),
    expect=(
        Expect(
            strategy="full",
            mean=0.798,
            low=0.796,
            high=0.802,
            source="measure_expect.py mlp-text --seeds 5, two CPU cores, commit 10c2191",
        ),
    ),
)
