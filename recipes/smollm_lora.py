"""SmolLM2 learns to answer, by LoRA. Neither pinned to a commit nor measured yet."""

from ftkit import Backbone, Data, Full, LanguageModelling, Lora, Recipe, Train

recipe = Recipe(
    name="smollm-lora",
    description="SmolLM2-135M (Transformer, Llama) on everyday conversations, by LoRA",
    data=Data(
        path="HuggingFaceTB/smoltalk",
        config="everyday-conversations",
        revision="5feaf2fd3ffca7c237fc38d1861bc30365d48ffa",
    ),
    backbone=Backbone(
        id="HuggingFaceTB/SmolLM2-135M", revision="93efa2f097d58c2a74874c7e644dbc9b0cee75a2"
    ),
    task=LanguageModelling(max_length=512),
    strategy=Lora(learning_rate=5e-4, rank=16, alpha=32),
    alternatives=(Full(learning_rate=5e-5),),
    train=Train(epochs=2, batch_size=16, micro_batch_size=4, evaluation_batch_size=8),
)
