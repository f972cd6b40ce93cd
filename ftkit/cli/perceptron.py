"""The command line of the perceptron: `ftkit mlp check | show`, `ftkit play tictactoe`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich import box
from rich.table import Table

from ftkit.cli.options import Count
from ftkit.cli.request import parse_changes
from ftkit.cli.words import Changes, Switch
from ftkit.errors import FtkitError
from ftkit.machine.streams import Console
from ftkit.machine.terminal import speak

ENOUGH = 1e-7
mlp = App(name="mlp", help="The perceptron by hand: is its gradient right, how did it learn?")
play = App(name="play", help="Play a game against a perceptron.")


class GradientError(FtkitError):
    """Backpropagation and central differences do not agree."""

    exit_status = 1


@mlp.command
def check(
    network: str,
    *,
    rows: Count = 16,
    per_layer: Count = 200,
    set_: Changes = (),
) -> None:
    """Compare a network's gradient by backpropagation with central differences, layer by layer.

    Parameters
    ----------
    network
        A recipe, whose new network is checked, or the folder of a run: its trained network.
    rows
        Validation rows on which the error is computed.
    per_layer
        Parameters compared in each layer.
    set_
        Any field by its path, as in --set data.path=rows.csv. Can be repeated.
    """
    speak()
    from ftkit.cli.perceptron_plots import check_network

    found = check_network(network, rows, per_layer, parse_changes(set_))
    shown = Table(title="backpropagation against central differences, float64", box=box.SIMPLE_HEAD)
    for column in ("layer", "weights", "compared", "left out", "largest relative difference"):
        shown.add_column(column, justify="right")
    for row in found:
        D, H = row.shape
        shown.add_row(
            str(row.layer),
            f"{D} x {H}",
            str(row.checked),
            str(row.kinks),
            f"{row.relative_error:.1e}",
        )
    Console(markup=False, emoji=False).print(shown)
    if any(row.kinks for row in found):
        print("left out: parameters where a ReLU switches within the step")
    worst = max(row.relative_error for row in found)
    if not worst <= ENOUGH:
        raise GradientError(f"the gradients differ by {worst:.1e}, more than {ENOUGH:.0e}")
    print(f"they agree to {worst:.1e} (at most {ENOUGH:.0e} was asked)")


@mlp.command
def show(run: Path) -> None:
    """Draw learning curve, gradient norms of each layer and first-layer weights of a run.

    Parameters
    ----------
    run
        Folder of a finished run of a perceptron.
    """
    speak()
    from ftkit.cli.perceptron_plots import draw_run

    for file in draw_run(run):
        print(file)


@play.command
def tictactoe(
    run: Path,
    *,
    second: Switch = False,
    record: Switch = False,
) -> None:
    """Play tic-tac-toe against the perceptron of a run of mlp-tictactoe.

    Parameters
    ----------
    run
        Folder of the run.
    second
        The perceptron begins.
    record
        No game: let it play every line against perfect and against all opponents, and count.
    """
    from ftkit.cli.play import RULE, load_player, play_in_terminal
    from ftkit.data.tic_tac_toe import legal_moves, perfect_moves, play_all

    if not record:
        try:
            play_in_terminal(run, second)
        except (EOFError, KeyboardInterrupt):
            print("\nThe game is left.")
        return
    choose, _ = load_player(run)
    print(f"Rule of the perceptron: {RULE}. Every line of play, as X and as O:")
    for who, replies in (("perfect opponents", perfect_moves), ("all opponents", legal_moves)):
        found = play_all(choose, replies)
        print(f"{who:<18} won {found.won:>5}  drawn {found.drawn:>4}  lost {found.lost:>3}")
