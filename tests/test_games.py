"""Tic-tac-toe against facts known apart from this code, and the player against every line."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ftkit.data.tic_tac_toe import (
    EMPTY,
    PLAYER,
    canonical,
    encode,
    labels,
    legal_moves,
    network_player,
    perfect_moves,
    play,
    play_all,
    positions,
    side_to_move,
    split,
    value,
    winner,
)
from ftkit.perceptron.estimators import MlpClassifier

TABLE = Path(__file__).parents[2] / "shared" / "data" / "tic_tac_toe" / "train.parquet"


def test_counts_are_the_known_ones():
    """5,478 positions, 765 up to symmetry, 958 final: X wins 626, O wins 316, 16 draws."""
    ends = [position for position in positions() if not legal_moves(position)]
    assert len(positions()) == 5478
    assert len({canonical(position) for position in positions()}) == 765
    assert Counter(winner(position) for position in ends) == {1: 626, -1: 316, 0: 16}


def test_number_of_games_is_the_known_one():
    """255,168 games from the empty board: X wins 131,184, O wins 77,904, 46,080 are drawn."""

    @cache
    def count(position):
        if not legal_moves(position):
            return Counter([winner(position)])
        return sum((count(play(position, cell)) for cell in legal_moves(position)), Counter())

    assert count(EMPTY) == {1: 131_184, -1: 77_904, 0: 46_080}


def test_the_game_is_a_draw_and_known_replies_keep_it():
    assert value(EMPTY) == 0
    corner, centre = play(EMPTY, 0), play(EMPTY, 4)
    assert perfect_moves(corner) == (4,)  # only the centre answers a corner
    assert perfect_moves(centre) == (0, 2, 6, 8)  # only corners answer the centre


@pytest.mark.skipif(not TABLE.is_file(), reason="needs the UCI endgame table")
def test_final_positions_are_those_of_the_uci_table():
    import pyarrow.parquet

    stones = {"x": 1, "o": -1, "b": 0}
    rows = pyarrow.parquet.read_table(TABLE).to_pylist()
    table = {tuple(stones[row[r + c]] for r in "TMB" for c in "LMR"): row["label"] for row in rows}
    ends = {p: int(winner(p) == 1) for p in positions() if not legal_moves(p)}
    assert table == ends


def test_split_keeps_symmetric_positions_together():
    known, unseen = split(0.7, seed=3)
    assert len(known) <= 0.7 * 5478
    assert sorted(known + unseen) == list(positions())
    assert not {canonical(p) for p in known} & {canonical(p) for p in unseen}
    assert split(0.7, seed=3) == (known, unseen) != split(0.7, seed=4)


def test_encoding_tells_mover_from_opponent():
    position = play(play(EMPTY, 0), 4)  # X in the corner, O in the centre, X moves
    row = encode([position])[0]
    assert side_to_move(position) == 1
    assert row.shape == (27,)
    assert np.flatnonzero(row).tolist() == [0, 9 + 4, *(18 + c for c in (1, 2, 3, 5, 6, 7, 8))]


def test_an_illegal_move_is_refused():
    with pytest.raises(ValueError, match="cell 0 cannot be taken"):
        play(play(EMPTY, 0), 0)


def exact(rows):
    """Probabilities that are right, looked up by the encoded row."""
    table = {encode([p])[0].tobytes(): np.eye(3)[value(p) + 1] for p in positions()}
    return np.stack([table[row.tobytes()] for row in rows])


def test_a_player_with_exact_values_never_loses():
    player = network_player(exact)
    assert play_all(player, legal_moves).lost == 0
    assert play_all(player).won == 0  # perfect opponents do not lose either


def test_a_player_with_reversed_values_loses():
    assert play_all(network_player(lambda rows: exact(rows)[:, ::-1])).lost > 0


def test_every_line_of_play_is_counted():
    """Who always takes the first free cell meets 8 * 6 * 4 * 2 replies at most as X, fewer ends."""
    record = play_all(lambda position: legal_moves(position)[0], legal_moves)
    assert 0 < record.won + record.drawn + record.lost <= 8 * 6 * 4 * 2 + 9 * 7 * 5 * 3
    assert record.lost > 0


def test_a_network_trained_on_seventy_percent_loses_no_line_to_a_perfect_player():
    known, unseen = split(0.7, seed=2)
    model = MlpClassifier(**{**PLAYER, "epochs": 60}, random_state=2)
    model.fit(encode(known), labels(known))
    assert play_all(network_player(model.predict_proba)).lost == 0
    assert model.score(encode(unseen), labels(unseen)) > 0.9
