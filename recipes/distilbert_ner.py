"""DistilBERT on CoNLL-2003: names of people, places, organisations (Tjong Kim Sang et al. 2003).

Data and backbone are not pinned to a commit yet, and its figures were not measured here.
"""

from ftkit import Backbone, Data, Full, HeadOnly, Lora, Recipe, TokenClassification, Train

recipe = Recipe(
    name="distilbert-ner",
    description="DistilBERT (Transformer) on CoNLL-2003, names in news",
    data=Data(path="lhoestq/conll2003", revision="main"),
    backbone=Backbone(
        id="distilbert/distilbert-base-cased", revision="6ea81172465e8b0ad3fddeed32b986cdcdcffcf0"
    ),
    task=TokenClassification(tokens="tokens", label="ner_tags"),
    strategy=Full(learning_rate=5e-5),
    alternatives=(HeadOnly(learning_rate=1e-3), Lora(learning_rate=5e-4, rank=16, alpha=32)),
    train=Train(epochs=3, batch_size=32),
)
