"""Tic-tac-toe: all positions with their true value, and how well a network plays.

A position is nine cells read row by row: 1 for X, who moves first, -1 for O, 0 for empty. Its value
is that of the player to move when both play perfectly: 1 won, 0 drawn, -1 lost.

A network learns to tell the value of a position. It plays by one rule: of the legal moves take the
one after which the opponent's expected value is lowest, as the network sees it; of equals the first
cell. It looks one move ahead and knows no rule of the game but which cells are empty.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Position = tuple[int, ...]
Choice = Callable[[Position], int]
"""A player: a function from a position to the cell that it takes."""

EMPTY: Position = (0,) * 9
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
OUTCOMES = (-1, 0, 1)
VALUES = ("lost", "drawn", "won")
"""The name of each of the OUTCOMES for the player to move. The classes of a network are in this
order."""
PLAYER: Mapping[str, Any] = {
    "hidden": (256, 256),
    "activation": "gelu",
    "update": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.3,
    "dropout": 0.2,
    "schedule": "cosine",
    "epochs": 100,
}
"""Settings of an `MlpClassifier` that learns to play; scripts/measure_tictactoe.py measures it."""


@dataclass(frozen=True)
class Record:
    """How the games of one player against another ended, each line of play counted once."""

    won: int
    drawn: int
    lost: int

    def __add__(self, other: Record) -> Record:
        return Record(self.won + other.won, self.drawn + other.drawn, self.lost + other.lost)


def winner(position: Position) -> int:
    """Return 1 or -1 for the side with three in a row, 0 for none."""
    for a, b, c in LINES:
        if position[a] != 0 and position[a] == position[b] == position[c]:
            return position[a]
    return 0


def side_to_move(position: Position) -> int:
    """Return 1 where X moves next, -1 where O does."""
    return 1 if sum(position) == 0 else -1


def legal_moves(position: Position) -> tuple[int, ...]:
    """Return the cells that may be taken; none where the game is over."""
    return () if winner(position) else tuple(c for c, stone in enumerate(position) if stone == 0)


def play(position: Position, cell: int) -> Position:
    """Return the position after the side to move has taken a cell.

    Raises:
        ValueError: the cell is not free, or the game is over.
    """
    if cell not in legal_moves(position):
        raise ValueError(f"cell {cell} cannot be taken in {position}")
    return (*position[:cell], side_to_move(position), *position[cell + 1 :])


@cache
def value(position: Position) -> int:
    """Return what the position is worth to the side to move, by minimax."""
    if winner(position):
        return -1  # only the side that has just moved can have won
    return max((-value(play(position, cell)) for cell in legal_moves(position)), default=0)


@cache
def positions() -> tuple[Position, ...]:
    """Return every position that play can reach, sorted."""
    seen, frontier = {EMPTY}, [EMPTY]
    while frontier:
        position = frontier.pop()
        after = {play(position, cell) for cell in legal_moves(position)} - seen
        seen |= after
        frontier.extend(after)
    return tuple(sorted(seen))


@cache
def canonical(position: Position) -> Position:
    """Return the least of the eight rotations and reflections, equal for all of them."""
    board = np.array(position).reshape(3, 3)
    turned = (np.rot90(b, k) for b in (board, board.T) for k in range(4))
    return min(tuple(b.ravel().tolist()) for b in turned)


def split(share: float = 0.7, seed: int = 0) -> tuple[list[Position], list[Position]]:
    """Return positions to train on, at most that share of all, and the unseen rest.

    Positions that are rotations or reflections of each other stay together, so that no unseen one
    is a training one in disguise.
    """
    groups: dict[Position, list[Position]] = {}
    for position in positions():
        groups.setdefault(canonical(position), []).append(position)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    known: list[Position] = []
    unseen: list[Position] = []
    for group in order:
        fits = len(known) + len(group) <= share * len(positions())
        (known if fits else unseen).extend(group)
    return known, unseen


def encode(batch: list[Position]) -> np.ndarray:
    """Return (N, 27) float32: for each cell whether the mover, the opponent or nobody has it."""
    stones = np.array(batch).reshape(-1, 9)
    movers = np.where(stones.sum(1, keepdims=True) == 0, 1, -1)
    cells = [stones == movers, stones == -movers, stones == 0]
    return np.concatenate(cells, axis=1).astype(np.float32)


def labels(batch: list[Position]) -> np.ndarray:
    """Return the class of each position's value, (N,): 0 lost, 1 drawn, 2 won for the mover."""
    return np.array([value(position) + 1 for position in batch])


def network_player(probabilities: Callable[[np.ndarray], np.ndarray]) -> Choice:
    """Return a player that follows a network by the rule above.

    Args:
        probabilities: from (N, 27) as `encode` gives it to (N, 3), in the order of OUTCOMES.
    """
    everything = list(positions())
    expected = probabilities(encode(everything)) @ np.array(OUTCOMES)
    worth = dict(zip(everything, expected.tolist(), strict=True))
    return lambda position: min(legal_moves(position), key=lambda c: worth[play(position, c)])


def perfect_moves(position: Position) -> tuple[int, ...]:
    """Return all moves that keep the position's value."""
    best = value(position)
    return tuple(c for c in legal_moves(position) if -value(play(position, c)) == best)


def play_all(
    choose: Choice, replies: Callable[[Position], tuple[int, ...]] = perfect_moves
) -> Record:
    """Return how every line of play ends, as X and as O, against all the `replies` there are.

    Args:
        choose: the player to judge.
        replies: the opponent's moves in a position, each of which is tried: `perfect_moves` for
            every perfect opponent, `legal_moves` for every opponent.
    """

    def from_here(position: Position, side: int) -> Record:
        if not legal_moves(position):
            result = winner(position) * side
            return Record(won=int(result > 0), drawn=int(result == 0), lost=int(result < 0))
        own = side_to_move(position) == side
        cells = (choose(position),) if own else replies(position)
        after = (from_here(play(position, cell), side) for cell in cells)
        return sum(after, start=Record(0, 0, 0))

    return from_here(EMPTY, 1) + from_here(EMPTY, -1)
