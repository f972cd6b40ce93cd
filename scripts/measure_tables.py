"""What tables of few whole numbers gain by being read as categories too, and what trees make of it.

    python scripts/measure_tables.py --rows 100 1000 20000

Trains the perceptron by hand on made-up tables, once with numbers alone, once with an input for
each number too, and once as ftkit decides by itself, and beside it boosted trees. Prints accuracy
or R squared on test rows. Four tables are orders (digits as numbers of 0 to 16, sums of marks with
noise as a number and as two classes, which side of a balance is heavier), two are names (the days
and months of made-up sales, and the end games of king and rook against king: white's moves to a
mate, 18 classes, which is UCI's krkopt move by move).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from ftkit import finetune, registry
from ftkit.compare.baselines import run_baseline
from ftkit.compare.ladder import build_ladder
from ftkit.recipe import Data, Recipe, TabularClassification, TabularRegression
from ftkit.runs.result import RunResult

Table = tuple[np.ndarray, np.ndarray]
"""Inputs (N, D) of whole numbers, and labels (N,): texts or floats."""
MOST_TEST_ROWS = 2_000
DRAW, UNKNOWN = "draw", 99
SIDE = range(8)


def digits() -> Table:
    """Return how dark 64 dots are, and which digit they show."""
    found = load_digits()
    return found.data.astype(int), np.array([f"digit {label}" for label in found.target])


def balance() -> Table:
    """Return weights and distances on both sides of a balance, and which side goes down."""
    X = np.array(list(itertools.product(range(1, 6), repeat=4)))
    turn = np.sign(X[:, 0] * X[:, 1] - X[:, 2] * X[:, 3])
    return X, np.array(["right", "even", "left"])[turn + 1]


def marks() -> Table:
    """Return marks from 0 to 9, and a sum of them with noise."""
    random = np.random.default_rng(0)
    X = random.integers(0, 10, (8_000, 8))
    return X, (X @ random.normal(size=8) + random.normal(size=len(X)) * 4).round(2)


def halves() -> Table:
    """Return the same marks, and whether their sum is a high one."""
    X, sums = marks()
    return X, np.where(sums > np.median(sums), "high", "low")


def sales() -> Table:
    """Return day, month and price, and a number that each day and each month has its share in."""
    random = np.random.default_rng(0)
    X = np.stack([random.integers(0, n, 8_000) for n in (7, 12, 20)], axis=1)
    day, month = random.normal(size=(2, 12))
    sold = day[X[:, 0]] + month[X[:, 1]] - 0.1 * X[:, 2] + random.normal(size=len(X)) * 0.5
    return X, sold.round(3)


def end_games() -> Table:
    """Return the squares of two kings and a rook, black to move, and how soon white can mate.

    A position stands for all that turning and mirroring the board makes of it.
    """
    moves = _Moves()
    left = _moves_to_mate(moves)
    words = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    names = [*words.split(), "fifteen", "sixteen"]
    X, y = [], []
    for king, rook, black in itertools.product(range(64), repeat=3):
        (f, r), (rf, rr), (bf, br) = (divmod(square, 8)[::-1] for square in (king, rook, black))
        mirrored = f == r and (br > bf or (br == bf and rr > rf))
        place = moves.place(king, rook, black)
        if r <= f <= 3 and not mirrored and moves.legal[place]:
            X.append([f + 1, r + 1, rf + 1, rr + 1, bf + 1, br + 1])
            y.append(DRAW if left[place] == UNKNOWN else names[left[place]])
    return np.array(X), np.array(y)


class _Moves:
    """All positions of white king, white rook and black king, and where each side can move.

    Squares are 8 rank + file; a move is the number of the position after it, -1 fills up.
    """

    def __init__(self) -> None:
        count = 64**3
        self.legal, self.check, self.taken = (np.zeros(count, bool) for _ in range(3))
        self.white = np.full((count, 22), -1)
        self.black = np.full((count, 8), -1)
        steps = [step for step in itertools.product((-1, 0, 1), repeat=2) if any(step)]
        self.near = [list(_squares(square, steps, 1)) for square in range(64)]
        for king, rook, black in itertools.product(range(64), repeat=3):
            if rook not in (king, black) and black != king and black not in self.near[king]:
                self._fill(king, rook, black)

    @staticmethod
    def place(king: int, rook: int, black: int) -> int:
        return (king * 64 + rook) * 64 + black

    def _fill(self, king: int, rook: int, black: int) -> None:
        here = self.place(king, rook, black)
        seen = set(_along(rook, {king}))  # through the black king, who may not step back
        reached = list(_along(rook, {king, black}))
        self.legal[here], self.check[here] = True, black in reached
        free = [square for square in self.near[black] if square not in self.near[king]]
        self.taken[here] = rook in free
        steps = [square for square in free if square not in seen and square != rook]
        black_moves = [self.place(king, rook, square) for square in steps]
        kings = [s for s in self.near[king] if s not in (rook, black, *self.near[black])]
        rooks = [square for square in reached if square not in (king, black)]
        white_moves = [self.place(square, rook, black) for square in kings]
        white_moves += [self.place(king, square, black) for square in rooks]
        self.black[here, : len(black_moves)] = black_moves
        self.white[here, : len(white_moves)] = white_moves


def _squares(square: int, steps: Sequence[tuple[int, ...]], most: int) -> Iterator[int]:
    rank, file = divmod(square, 8)
    for up, right in steps:
        for far in range(1, most + 1):
            if rank + up * far not in SIDE or file + right * far not in SIDE:
                break
            yield 8 * (rank + up * far) + file + right * far


def _along(rook: int, blocked: set[int]) -> Iterator[int]:
    """Yield the squares that a rook sees, with those that stand in its way."""
    for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        for square in _squares(rook, [step], 7):
            yield square
            if square in blocked:
                break


def _moves_to_mate(moves: _Moves) -> np.ndarray:
    """Return (64^3,) white's moves until mate where black is to move, UNKNOWN for a draw."""
    stuck = (moves.black < 0).all(1) & ~moves.taken
    black = np.full(len(stuck) + 1, UNKNOWN)
    white = np.full(len(stuck) + 1, UNKNOWN)
    black[:-1][moves.legal & stuck & moves.check] = 0
    for depth in range(17):
        wins = ((black[moves.white] == depth) & (moves.white >= 0)).any(1)
        white[:-1][moves.legal & ~moves.check & wins & (white[:-1] == UNKNOWN)] = depth + 1
        slowest = np.where(moves.black >= 0, white[moves.black], -1).max(1)
        lost = moves.legal & ~moves.taken & ~stuck & (slowest <= depth + 1)
        black[:-1][lost & (black[:-1] == UNKNOWN)] = depth + 1
    return black[:-1]


TABLES = {
    "digits": digits,
    "balance": balance,
    "marks": marks,
    "halves": halves,
    "sales": sales,
    "end-games": end_games,
}


def measure(name: str, table: Table, rows: int, folder: Path) -> list[float]:
    """Return the test figures: numbers alone, with categories, as ftkit decides, boosted trees."""
    X, y = table
    number = y.dtype.kind == "f"
    order = np.random.default_rng(1).permutation(len(y))
    folder.mkdir()
    for split, some in (("train", order[:rows]), ("test", order[-_test_rows(y) :])):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            header = [*(f"c{n}" for n in range(X.shape[1])), "y"]
            csv.writer(file).writerows([header, *([*X[row], y[row]] for row in some)])
    base = registry.find("mlp-diabetes" if number else "mlp-tictactoe")
    kind = TabularRegression if number else TabularClassification
    recipe = Recipe(**{**dict(base), "data": Data(path=str(folder)), "task": kind(label="y")})
    found = [
        _figure(finetune(recipe.override({"task.read_levels": how}), folder / f"run-{how}"))
        for how in (False, True, "auto")
    ]
    (rung,) = build_ladder([recipe], ["boosting"]).rungs
    return [*found, _figure(run_baseline("boosting", rung.recipe, folder / "boosting"))]


def _test_rows(y: np.ndarray) -> int:
    return min(MOST_TEST_ROWS, len(y) // 4)


def _figure(result: RunResult) -> float:
    return next(iter(result.metrics.values())).value


def main() -> None:
    """Print a table, a line for each data set and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1_000, 20_000])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    asked = parser.parse_args()
    print(f"{'table':12}{'rows':>8}{'numbers':>10}{'both':>10}{'auto':>10}{'boosting':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.tables:
            table = TABLES[name]()
            most = len(table[1]) - _test_rows(table[1])
            for rows in sorted({min(rows, most) for rows in asked.rows}):
                found = measure(name, table, rows, Path(scratch) / f"{name}-{rows}")
                line = "".join(f"{figure:>10.3f}" for figure in found)
                print(f"{name:12}{rows:>8,}{line}", flush=True)


if __name__ == "__main__":
    main()
