"""Play tic-tac-toe in the terminal against a perceptron that learned the value of positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ftkit.backbones.perceptron import load_perceptron
from ftkit.data.tic_tac_toe import (
    EMPTY,
    VALUES,
    Choice,
    Position,
    encode,
    legal_moves,
    network_player,
    play,
    side_to_move,
    winner,
)
from ftkit.errors import ModelError
from ftkit.perceptron.estimators import MlpClassifier

RULE = "it takes the free cell after which it thinks the least of your position"


def load_player(run: Path) -> tuple[Choice, Callable[[Position], np.ndarray]]:
    """Return how a run's perceptron moves, and what it thinks of a position: (3,) for OUTCOMES.

    Raises:
        ModelError: the run holds no perceptron for tic-tac-toe.
    """
    trained = load_perceptron(run)
    known = getattr(trained.estimator, "classes_", np.array([])).tolist()
    width = trained.estimator.n_features_in_
    if not isinstance(trained.estimator, MlpClassifier) or (sorted(known), width) != (
        sorted(VALUES),
        27,
    ):
        raise ModelError(
            f"{run} did not learn tic-tac-toe: expected 27 inputs and the classes "
            f"{', '.join(VALUES)}; train one by 'ftkit train mlp-tictactoe'"
        )
    order = [known.index(name) for name in VALUES]

    def probabilities(cells: np.ndarray) -> np.ndarray:
        return trained.predict_proba(cells)[:, order]

    return network_player(probabilities), lambda position: probabilities(encode([position]))[0]


def play_in_terminal(
    run: Path,
    second: bool = False,
    ask: Callable[[str], str] | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Play one game and return its result for the person: 1 won, 0 drawn, -1 lost.

    Args:
        second: the perceptron begins.
        ask: shows a prompt and returns what was typed; the terminal when not given.
        say: shows a line.

    Raises:
        ModelError: the run holds no perceptron for tic-tac-toe.
        EOFError: the person left.
    """
    choose, think = load_player(run)
    person = -1 if second else 1
    say(f"You are {'O' if second else 'X'}. The perceptron's rule: {RULE}.")
    position = EMPTY
    while legal_moves(position):
        if side_to_move(position) == person:
            say(board(position))
            position = play(position, ask_cell(position, ask or input, say))
        else:
            cell = choose(position)
            position = play(position, cell)
            lost, drawn, won = think(position)
            say(
                f"The perceptron takes {cell + 1}, and thinks that you lose {lost:.0%}, "
                f"draw {drawn:.0%}, win {won:.0%}."
            )
    say(board(position))
    result = winner(position) * person
    say({1: "You win.", 0: "A draw.", -1: "The perceptron wins."}[result])
    return result


def board(position: Position) -> str:
    """Return three lines of three cells; a free cell shows its number."""
    signs = {1: "X", -1: "O"}
    cells = [signs.get(stone, str(cell + 1)) for cell, stone in enumerate(position)]
    return "\n".join(" " + " ".join(cells[row : row + 3]) for row in (0, 3, 6))


def ask_cell(position: Position, ask: Callable[[str], str], say: Callable[[str], None]) -> int:
    """Return the free cell that the person names, asking until it is one."""
    free = [str(cell + 1) for cell in legal_moves(position)]
    while True:
        typed = ask("Your cell: ").strip()
        if typed in free:
            return int(typed) - 1
        say(f"'{typed}' is not free; type one of {' '.join(free)} (Ctrl-C ends the game)")
