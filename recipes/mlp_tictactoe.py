"""A perceptron learns the value of tic-tac-toe positions; `ftkit play tictactoe RUN` then plays."""

from ftkit import Data, Expect, Full, HeadOnly, Mlp, Recipe, TabularClassification, Train

recipe = Recipe(
    name="mlp-tictactoe",
    description="perceptron by hand on 70 % of tic-tac-toe's positions, then plays; no network",
    data=Data(path="embedded:tictactoe", validation_fraction=0.02),
    backbone=Mlp(hidden=(256, 256), activation="gelu", update="adamw", dropout=0.2),
    task=TabularClassification(label="value"),
    strategy=Full(learning_rate=2e-3),
    alternatives=(HeadOnly(learning_rate=2e-3),),
    train=Train(epochs=100, batch_size=32, warmup=0, weight_decay=0.3, best_by="loss"),
    expect=(
        Expect(
            strategy="full",
            mean=0.961,
            low=0.959,
            high=0.965,
            source="measure_expect.py mlp-tictactoe --seeds 5, two CPU cores, commit 4b29f54",
        ),
    ),
)
