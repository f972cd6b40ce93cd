"""EfficientNet-Lite0 on handwritten digits: all of it comes in Python packages, no Hub needed."""

from ftkit import (
    Augment,
    Backbone,
    Data,
    Expect,
    Full,
    HeadOnly,
    ImageClassification,
    Lora,
    Recipe,
    Train,
)

recipe = Recipe(
    name="effnet-digits",
    description="EfficientNet-Lite0 (CNN) on scikit-learn's digits; needs no network",
    data=Data(path="embedded:digits"),
    backbone=Backbone(id="embedded:efficientnet-lite0", image_size=96),
    task=ImageClassification(augment=Augment(crop=(0.7, 1.0), flip=False)),
    strategy=Full(learning_rate=5e-4),
    alternatives=(HeadOnly(learning_rate=3e-3), Lora(learning_rate=3e-3, rank=8)),
    train=Train(epochs=5, batch_size=32),
    expect=(
        Expect(
            strategy="head",
            mean=0.975,
            low=0.975,
            high=0.975,
            source="measure_expect.py effnet-digits:head --seeds 5, two CPU cores, commit 212f70b",
        ),
        Expect(
            strategy="full",
            mean=0.990,
            low=0.981,
            high=0.994,
            source="measure_expect.py effnet-digits:full --seeds 5, two CPU cores, commit 4b29f54",
        ),
        Expect(
            strategy="lora",
            mean=0.984,
            low=0.975,
            high=0.989,
            source="measure_expect.py effnet-digits:lora --seeds 5, two CPU cores, commit 4b29f54",
        ),
    ),
)
