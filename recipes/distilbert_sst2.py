"""DistilBERT on SST-2: is a sentence of a film review for or against it (Socher et al. 2013)?

Data and backbone are not pinned to a commit yet, and its figures were not measured here. The labels
of the test split are hidden, so the validation split is the test.
"""

from ftkit import Backbone, Data, Full, HeadOnly, Lora, Recipe, TextClassification, Train

recipe = Recipe(
    name="distilbert-sst2",
    description="DistilBERT (Transformer) on SST-2, sentiment of sentences",
    data=Data(
        path="stanfordnlp/sst2",
        revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
        test="validation",
    ),
    backbone=Backbone(
        id="distilbert/distilbert-base-uncased", revision="12040accade4e8a0f71eabdb258fecc2e7e948be"
    ),
    task=TextClassification(text="sentence", label="label", max_length=128),
    strategy=Full(learning_rate=3e-5),
    alternatives=(HeadOnly(learning_rate=1e-3), Lora(learning_rate=5e-4, rank=16, alpha=32)),
    train=Train(epochs=3, batch_size=32),
)
