"""A perceptron 784-64-64-10 on MNIST, trained by hand-written backpropagation, then fine-tuned."""

from ftkit import Augment, Data, FineTune, Full, HeadOnly, ImageClassification, Mlp, Recipe, Train

recipe = Recipe(
    name="mlp-mnist",
    description="perceptron by hand, 784-64-64-10, on MNIST: five epochs, then five at 1e-4",
    data=Data(path="ylecun/mnist", revision="77f3279092a1c1579b2250db8eafed0ad422088c"),
    backbone=Mlp(hidden=(64, 64), grey=True, fine_tune=FineTune(epochs=5, learning_rate=1e-4)),
    task=ImageClassification(image="image", label="label", augment=Augment(crop=None, flip=False)),
    strategy=Full(learning_rate=1e-3),
    alternatives=(HeadOnly(learning_rate=1e-3),),
    train=Train(epochs=5, batch_size=32, schedule="constant", warmup=0, weight_decay=0),
)
