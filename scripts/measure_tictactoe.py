"""Train perceptrons on 70 % of tic-tac-toe's positions and let each play every line.

    python scripts/measure_tictactoe.py [--seeds 10]

For each seed (of split, weights and batches): accuracy on the unseen positions, and how the games
end against every perfect opponent and against every opponent at all.
"""

from __future__ import annotations

import argparse
import time

from ftkit.data.tic_tac_toe import (
    PLAYER,
    encode,
    labels,
    legal_moves,
    network_player,
    play_all,
    positions,
    split,
)
from ftkit.perceptron.estimators import MlpClassifier


def main() -> None:
    """Print a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    for seed in range(parser.parse_args().seeds):
        known, unseen = split(0.7, seed)
        model = MlpClassifier(**PLAYER, random_state=seed)
        begin = time.perf_counter()
        model.fit(encode(known), labels(known))
        seconds = time.perf_counter() - begin
        player = network_player(model.predict_proba)
        print(
            f"seed {seed}: trained on {len(known)} of {len(positions())} in {seconds:.0f} s,"
            f" unseen accuracy {model.score(encode(unseen), labels(unseen)):.4f};"
            f" perfect opponents: {play_all(player)}; all: {play_all(player, legal_moves)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
