"""The pictures of a run: learning curve, and confusion matrix or predictions, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ftkit.errors.names import visible
from ftkit.runs.finished import read_journal

MOST_CLASSES_WITH_NUMBERS = 20
MOST_LETTERS = 24
"""The most letters of the name of a class."""
MOST_BARS = 40
"""The most classes with a bar; those with most rows have one."""


def plot_learning_curve(run: Path, file: Path, title: str, figure_name: str, loss: str) -> bool:
    """Draw training loss, validation loss and a validation figure over epochs, if there are two.

    Returns whether there was a curve to draw: a head that is solved at once has a single point.

    Args:
        run: its folder.
        figure_name: such as accuracy.
        loss: what it is.
    """
    entries = [entry for entry in read_journal(run) if "epoch" in entry]
    train = [(e["epoch"], e["loss"]) for e in entries if "loss" in e]
    validation = [e for e in entries if "validation_loss" in e]
    if max(len(train), len(validation)) < 2:
        return False
    epochs = [e["epoch"] for e in validation]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    if train:
        losses.plot(*zip(*train, strict=True), color="tab:gray", linewidth=1, label="training")
    losses.plot(epochs, [e["validation_loss"] for e in validation], "o-", label="validation")
    losses.set(xlabel="epoch", ylabel=loss, ylim=(0, None))
    losses.legend(frameon=False)
    values = [e.get(f"validation_{figure_name}", math.nan) for e in validation]
    accuracies.plot(epochs, values, "o-", color="tab:blue")
    accuracies.set(
        xlabel="epoch",
        ylabel=f"validation {figure_name}",
        ylim=(None, None if figure_name == "perplexity" else 1.005),
    )
    for axes in (losses, accuracies):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(file, dpi=120)
    return True


def drawable(
    names: Sequence[str], numbers: Sequence[int] | np.ndarray, letters: int = MOST_LETTERS
) -> list[str]:
    """Return names as a picture can hold them: short, without formulas, in letters of its font.

    A name in a script that the font lacks becomes its number, as in "class 7".

    Args:
        letters: the most that are kept of each.
    """
    known = get_font(findfont(FontProperties())).get_charmap()
    found = []
    for name, number in zip(names, numbers, strict=True):
        line = " ".join(visible(name).split())
        line = line if len(line) <= letters else line[: letters - 1] + "…"
        there = line and all(ord(letter) in known for letter in line)
        found.append(line.replace("$", r"\$") if there else f"class {number}")
    return found


def plot_range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    means: np.ndarray,
    chosen: float,
    file: Path,
    title: str,
) -> None:
    """Draw the loss of each step (N,) and its running mean (N,) over its learning rate."""
    with _picture(file, 5.6, 3.6) as axes:
        axes.plot(rates, losses, ".", color="tab:gray", markersize=3, label="each step")
        axes.plot(rates, means, color="tab:blue", label="running mean")
        axes.axvline(chosen, color="tab:red", linewidth=1, label=f"chosen: {chosen:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
        axes.set_ylim(0, 1.3 * max(means[0], means.min()))
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)


def plot_numbers(labels: np.ndarray, predicted: np.ndarray, file: Path, title: str) -> None:
    """Draw predicted numbers (N,) against true ones (N,), with the line where they agree."""
    ends = [min(labels.min(), predicted.min()), max(labels.max(), predicted.max())]
    with _picture(file, 4.6, 4.4) as axes:
        axes.plot(ends, ends, color="tab:gray", linewidth=1)
        axes.scatter(labels, predicted, s=14, alpha=0.7)
        axes.set(xlabel="true", ylabel="predicted", title=title)
        axes.grid(alpha=0.3)


def plot_histogram(
    values: np.ndarray, ends: tuple[float, float], name: str, file: Path, title: str
) -> None:
    """Draw how often values (N,) between two ends occur, and the one in the middle."""
    middle = float(np.median(values))
    with _picture(file, 5.6, 3.6) as axes:
        axes.hist(values, bins=25, range=ends, color="tab:blue", alpha=0.7)
        axes.axvline(middle, color="black", linewidth=1, label=f"median {middle:.1f}")
        axes.set(xlabel=name, ylabel=f"of {len(values):,} test rows", title=title, xlim=ends)
        axes.legend(frameon=False)


def plot_confusion(counts: np.ndarray, names: tuple[str, ...], file: Path, title: str) -> None:
    """Draw a confusion matrix; colours are shares of the true class, numbers are examples.

    Args:
        counts: (C, C) examples of true class (row) and predicted class (column).
        names: C class names.
    """
    C = len(names)
    side = min(16.0, 3.2 + 0.42 * C)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    ticks = range(0, C, max(1, C // 40))
    labels = drawable([names[tick] for tick in ticks], ticks)
    with _picture(file, side + 0.8, side, framed=True) as axes:
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
        if C <= MOST_CLASSES_WITH_NUMBERS:
            for row, column in zip(*counts.nonzero(), strict=True):
                ink = "white" if shares[row, column] > 0.5 else "black"
                count = str(counts[row, column])
                axes.text(column, row, count, ha="center", va="center", color=ink)
        axes.set_xticks(ticks, labels, rotation=45 if max(map(len, labels)) > 2 else 0)
        axes.set_yticks(ticks, labels)
        axes.set(xlabel="predicted", ylabel="true", title=title)


def plot_precision_recall(
    hits: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray,
    names: tuple[str, ...],
    file: Path,
    title: str,
) -> None:
    """Draw precision and recall of each class, with the number of rows that have it.

    Args:
        hits: (C,) rows that rightly have each class.
        found: (C,) rows that are told to have it.
        truth: (C,) rows that have it.
        names: C class names.
    """
    most = np.argsort(-truth, kind="stable")[:MOST_BARS]
    place = np.arange(len(most))
    shown = drawable([names[number] for number in most], most)
    counts = [f"{name} ({truth[number]})" for name, number in zip(shown, most, strict=True)]
    with _picture(file, 6.4, 1.2 + 0.42 * len(most)) as axes:
        for offset, name, whole in ((-0.2, "precision", found), (0.2, "recall", truth)):
            axes.barh(place + offset, (hits / np.maximum(whole, 1))[most], 0.38, label=name)
        axes.set_yticks(place, counts)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), title=title, ylabel="class (rows that have it)")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def plot_perplexities(found: np.ndarray, whole: float, file: Path, title: str) -> None:
    """Draw how many texts have which perplexity, and that over all tokens.

    Args:
        found: (N,) of each text.
    """
    bins = np.geomspace(found.min() * 0.99, found.max() * 1.01, 40).tolist()
    with _picture(file, 6, 3.6) as axes:
        axes.hist(found, bins=bins, color="tab:blue")
        axes.axvline(whole, color="tab:gray", label=f"over all tokens: {whole:.1f}")
        axes.set(xscale="log", xlabel="perplexity of a text", ylabel="test texts", title=title)
        axes.legend(frameon=False)


def plot_costs(
    first: Sequence[tuple[float, float]],
    last: Sequence[tuple[float, float, float, float]],
    names: Sequence[str],
    file: Path,
    axes: tuple[str, str],
    legend: tuple[str, str],
) -> None:
    """Draw figures over costs, in a first and a last round, with the front of each.

    A point is on the front where no cheaper one is as good.

    Args:
        first: (cost, figure) of all.
        last: (cost, figure, and the ends of its interval) of those that were left.
        names: of those in `last`.
        axes: what cost and figure are.
        legend: what the rounds are.
    """
    with _picture(file, 8.4, 4.4) as drawn:
        rounds = [(first, "tab:gray", legend[0]), ([p[:2] for p in last], "tab:blue", legend[1])]
        for points, colour, said in rounds:
            drawn.plot(*zip(*points, strict=True), "o", color=colour, markersize=5, label=said)
            ordered = sorted(points, key=lambda point: (point[0], -point[1]))
            front = [p for n, p in enumerate(ordered) if all(p[1] > q[1] for q in ordered[:n])]
            drawn.step(*zip(*front, strict=True), color=colour, linewidth=1, where="post")
        for number, (cost, value, low, high) in enumerate(last, 1):
            drawn.plot([cost, cost], [low, high], color="tab:blue", linewidth=1)
            drawn.annotate(str(number), (cost, value), (5, 4), textcoords="offset points")
        lines = [f"{n}  {name}" for n, name in enumerate(drawable(names, range(len(names)), 48), 1)]
        drawn.text(1.02, 0.98, "\n".join(lines), transform=drawn.transAxes, va="top")
        drawn.set(xscale="log", xlabel=axes[0], ylabel=axes[1])
        drawn.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        drawn.xaxis.set_major_formatter(lambda cost, _: f"{cost:g}")
        drawn.xaxis.set_minor_formatter(NullFormatter())
        drawn.grid(alpha=0.3)
        drawn.legend(frameon=False, loc="lower right")


@contextmanager
def _picture(file: Path, width: float, height: float, framed: bool = False) -> Iterator[Axes]:
    """Give the axes of a picture of so many inches, and write it when the block ends."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots()
    if not framed:
        axes.spines[["top", "right"]].set_visible(False)
    yield axes
    figure.savefig(file, dpi=120)
