"""ViT-B/16 on CIFAR-10: the usual first fine-tuning of a vision Transformer."""

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
    name="vit-cifar",
    description="ViT-B/16 (Transformer, ImageNet-21k) on CIFAR-10",
    data=Data(path="uoft-cs/cifar10", revision="0b2714987fa478483af9968de7c934580d0bb9a2"),
    backbone=Backbone(
        id="google/vit-base-patch16-224-in21k", revision="b4569560a39a0f1af58e3ddaf17facf20ab919b0"
    ),
    task=ImageClassification(image="img", label="label", augment=Augment(crop=(0.5, 1.0))),
    strategy=Full(learning_rate=5e-5),
    alternatives=(HeadOnly(learning_rate=1e-3), Lora(learning_rate=5e-4, rank=16, alpha=32)),
    train=Train(epochs=3, batch_size=128, micro_batch_size=64, label_smoothing=0.1),
    expect=(
        Expect(
            strategy="full",
            low=0.9859,
            high=0.9886,
            source="not run here; published for 500 and 1,000 steps of 512 at 384 px, "
            "github.com/google-research/vision_transformer",
        ),
    ),
)
