"""T5-small by LoRA on captions of pictures, English to German (Elliott et al. 2016).

Data and backbone are not pinned to a commit yet, and its figures were not measured here.
"""

from ftkit import Backbone, Data, Full, Lora, Recipe, Train, Translation

recipe = Recipe(
    name="t5-multi30k",
    description="T5-small (encoder-decoder) on Multi30k, English to German",
    data=Data(path="bentrevett/multi30k", revision="main"),
    backbone=Backbone(id="google-t5/t5-small", revision="df1b051c49625cf57a3d0d8d3863ed4d13564fe4"),
    task=Translation(
        source="en", target="de", prefix="translate English to German: ", max_length=128
    ),
    strategy=Lora(learning_rate=1e-3, rank=16, alpha=32),
    alternatives=(Full(learning_rate=3e-4),),
    train=Train(epochs=3, batch_size=64),
)
