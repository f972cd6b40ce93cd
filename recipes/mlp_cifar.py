"""A perceptron on CIFAR-10: the baseline that a pretrained backbone has to beat."""

from ftkit import Augment, Data, Full, HeadOnly, ImageClassification, Mlp, Recipe, Train

recipe = Recipe(
    name="mlp-cifar",
    description="perceptron by hand on CIFAR-10",
    data=Data(path="uoft-cs/cifar10", revision="0b2714987fa478483af9968de7c934580d0bb9a2"),
    backbone=Mlp(hidden=(512, 256), update="adamw", dropout=0.2),
    task=ImageClassification(image="img", label="label", augment=Augment(crop=None, flip=False)),
    strategy=Full(learning_rate=1e-3),
    alternatives=(HeadOnly(learning_rate=1e-3),),
    train=Train(epochs=15, batch_size=128, weight_decay=0.05),
)
