"""BERT on AG News: which of four kinds of news a text is (Zhang et al. 2015).

Data and backbone are not pinned to a commit yet, and its figures were not measured here.
"""

from ftkit import Backbone, Data, Full, HeadOnly, Lora, Recipe, TextClassification, Train

recipe = Recipe(
    name="bert-agnews",
    description="BERT (Transformer) on AG News, four kinds of news",
    data=Data(path="fancyzhx/ag_news", revision="eb185aade064a813bc0b7f42de02595523103ca4"),
    backbone=Backbone(
        id="google-bert/bert-base-uncased", revision="86b5e0934494bd15c9632b12f734a8a67f723594"
    ),
    task=TextClassification(text="text", label="label", max_length=256),
    strategy=Full(learning_rate=2e-5),
    alternatives=(HeadOnly(), Lora(learning_rate=3e-4, rank=16, alpha=32)),
    train=Train(epochs=2, batch_size=32),
)
