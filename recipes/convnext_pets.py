"""ConvNeXt-Tiny on the Oxford pets: 37 breeds of cats and dogs, few images of each."""

from ftkit import Augment, Backbone, Data, Full, HeadOnly, ImageClassification, Lora, Recipe, Train

recipe = Recipe(
    name="convnext-pets",
    description="ConvNeXt-Tiny (CNN, ImageNet-1k) on the 37 breeds of Oxford-IIIT Pet",
    data=Data(path="timm/oxford-iiit-pet", revision="main"),
    backbone=Backbone(id="facebook/convnext-tiny-224", revision="main"),
    task=ImageClassification(
        image="image", label="label", augment=Augment(crop=(0.35, 1.0), randaugment=9)
    ),
    strategy=Full(learning_rate=1e-4),
    alternatives=(HeadOnly(learning_rate=1e-3), Lora(learning_rate=5e-4)),
    train=Train(epochs=10, batch_size=64, label_smoothing=0.1),
)
