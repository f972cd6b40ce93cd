"""A small BART over bytes, from new weights, translates names: the whole path without a network.

It shows how a translator is trained, not how well one can be: nothing was pretrained, and 1,250
names are few. Take `t5-multi30k` or another pretrained backbone for work.
"""

from ftkit import Backbone, Data, Expect, Full, Recipe, Train, Translation

recipe = Recipe(
    name="bart-cldr",
    description="small BART (new weights) on English-German names; needs no network",
    data=Data(path="embedded:cldr-en-de"),
    backbone=Backbone(id="embedded:new-bart"),
    task=Translation(source="source", target="target", max_length=96, beams=4),
    strategy=Full(learning_rate=1e-3),
    train=Train(epochs=40, batch_size=32, label_smoothing=0.1),
    expect=(
        Expect(
            strategy="full",
            metric="bleu",
            mean=9.1,
            low=7.4,
            high=11.84,
            source="measure_expect.py bart-cldr --seeds 5, two CPU cores, commit 4b29f54",
        ),
    ),
)
