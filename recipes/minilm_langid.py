"""MiniLM tells the language of a name: all of it comes in Python packages, no Hub needed."""

from ftkit import Backbone, Data, Expect, Full, HeadOnly, Lora, Recipe, TextClassification, Train

recipe = Recipe(
    name="minilm-langid",
    description="MiniLM-L6 (Transformer) on names in 12 languages; needs no network",
    data=Data(path="embedded:langid"),
    backbone=Backbone(id="embedded:minilm-l6"),
    task=TextClassification(text="text", label="label"),
    strategy=Full(learning_rate=2e-4),
    alternatives=(
        HeadOnly(learning_rate=2e-2, pooler=True, weight_decay=0.1, epochs=40),
        Lora(learning_rate=2e-3, rank=16, alpha=32),
    ),
    train=Train(epochs=3, batch_size=32),
    expect=(
        Expect(
            strategy="head",
            mean=0.569,
            low=0.561,
            high=0.575,
            source="measure_expect.py minilm-langid:head --seeds 5, two CPU cores, commit cb9b359",
        ),
    ),
)
