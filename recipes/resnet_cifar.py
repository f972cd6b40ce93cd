"""ResNet-50 of timm on CIFAR-10: a convolutional backbone on the same data as vit-cifar."""

from ftkit import Augment, Backbone, Data, Full, HeadOnly, ImageClassification, Lora, Recipe, Train

recipe = Recipe(
    name="resnet-cifar",
    description="ResNet-50 (CNN of timm, ImageNet-1k) on CIFAR-10",
    data=Data(path="uoft-cs/cifar10", revision="0b2714987fa478483af9968de7c934580d0bb9a2"),
    backbone=Backbone(
        id="timm/resnet50.a1_in1k", revision="767268603ca0cb0bfe326fa87277f19c419566ef"
    ),
    task=ImageClassification(image="img", label="label", augment=Augment(crop=(0.5, 1.0))),
    strategy=Full(learning_rate=5e-4),
    alternatives=(HeadOnly(learning_rate=1e-3), Lora(learning_rate=1e-3)),
    train=Train(epochs=5, batch_size=128, micro_batch_size=64, label_smoothing=0.1),
)
