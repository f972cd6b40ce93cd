"""A game against a perceptron in the terminal, and its record over every line of play."""

import io
import re

import pytest
from conftest import leave_unverified

from ftkit import ModelError, finetune, registry
from ftkit.cli.main import main
from ftkit.cli.play import board, load_player, play_in_terminal
from ftkit.data.tic_tac_toe import EMPTY, legal_moves, perfect_moves, play, play_all


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = registry.find("mlp-tictactoe").override({"train.epochs": 40})
    folder = tmp_path_factory.mktemp("tictactoe") / "run"
    finetune(recipe, folder)
    return folder


def test_it_loses_no_line_of_play_to_a_perfect_player(run):
    choose, _ = load_player(run)
    record = play_all(choose, perfect_moves)
    assert record.lost == 0
    assert record.drawn > 0


def test_the_record_is_printed(run, capsys):
    assert main(["play", "tictactoe", str(run), "--record"]) == 0
    perfect = re.search(
        r"perfect opponents +won +0 +drawn +(\d+) +lost +0", capsys.readouterr().out
    )
    choose, _ = load_player(run)
    assert int(perfect[1]) == play_all(choose, perfect_moves).drawn


@pytest.mark.parametrize("second", [False, True])
def test_a_person_plays_a_game_to_its_end(run, second):
    said, typed = [], iter(["x", "0", *("123456789" * 9)])
    result = play_in_terminal(run, second, lambda _: next(typed), said.append)
    assert said[-1] == {1: "You win.", 0: "A draw.", -1: "The perceptron wins."}[result]
    assert any("'x' is not free" in line for line in said)
    assert any("thinks that you lose" in line for line in said)
    assert result <= 0  # whoever types the cells in order does not beat it


def test_leaving_is_no_error(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["play", "tictactoe", str(run)]) == 0
    assert "The game is left." in capsys.readouterr().out


def test_the_board_shows_free_cells_by_number():
    position = play(play(EMPTY, 4), 0)
    assert board(position) == " O 2 3\n 4 X 6\n 7 8 9"
    assert len(legal_moves(position)) == 7


def test_another_perceptron_cannot_play(tmp_path, monkeypatch):
    leave_unverified(monkeypatch)
    recipe = registry.find("mlp-digits").override({"train.epochs": 1})
    finetune(recipe, tmp_path / "digits")
    with pytest.raises(ModelError, match="did not learn tic-tac-toe"):
        load_player(tmp_path / "digits")
