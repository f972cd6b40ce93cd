"""RoBERTa on Banking77: which of 77 matters a bank's customer asks about (Casanueva et al. 2020).

The backbone is not pinned to a commit yet, and its figures were not measured here.
"""

from ftkit import Backbone, Data, Full, HeadOnly, Lora, Recipe, TextClassification, Train

recipe = Recipe(
    name="roberta-banking",
    description="RoBERTa (Transformer) on Banking77, 77 matters of a bank's customers",
    data=Data(path="mteb/banking77", revision="0fd18e25b25c072e09e0d92ab615fda904d66300"),
    backbone=Backbone(
        id="FacebookAI/roberta-base", revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b"
    ),
    task=TextClassification(text="text", label="label_text", max_length=128),
    strategy=Full(learning_rate=5e-5),
    alternatives=(HeadOnly(learning_rate=3e-3), Lora(learning_rate=1e-3, rank=16, alpha=32)),
    train=Train(epochs=10, batch_size=32),
)
