"""Every number and name among the words of a command: right, or refused in one line."""

import pytest

from ftkit.cli import check, compare, perceptron, sweep, train
from ftkit.cli.main import main
from ftkit.cli.request import Flags
from ftkit.errors import FtkitError

SWEEP = ("sweep", "mlp-digits", "--set", "strategy.learning_rate=1e-4..1e-2")
NUMBERS = {
    "--seeds": ("compare", "mlp-digits"),
    "--margin": ("compare", "mlp-digits"),
    "--budget": ("compare", "mlp-digits"),
    "--trials": SWEEP,
    "--at-once": (*SWEEP, "--ray", "local"),
    "--ray-cpus": (*SWEEP, "--ray", "local"),
    "--ray-gpus": (*SWEEP, "--ray", "local"),
    "--rows": ("mlp", "check", "mlp-digits"),
    "--per-layer": ("mlp", "check", "mlp-digits"),
    "--to": ("cache", "prune"),
}
WORDS = ("three", "", "-1", "nan", "inf", "1e400", "-inf", "9" * 5_000, "٣", "0x10", "true", "[1]")
OWN = {"learning_rate", "channels_last", "gradient_checkpointing"}
"""Settings whose flags take other words: auto, and --no-channels-last."""
FREE = {"--push-checkpoints"}  # a name of any kind


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """End a command once all of its words were read."""

    def speak(quieten=True):
        if quieten:
            raise AssertionError("all words were taken")

    for module in (check, compare, perceptron, sweep, train):
        monkeypatch.setattr(module, "speak", speak)


def refusal(capsys, words):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "http" not in said
    assert "pydantic" not in said
    assert "expected" in said
    return said


@pytest.mark.parametrize("flag", NUMBERS)
def test_a_word_that_is_no_such_number_is_refused_with_its_flag(capsys, flag):
    for word in WORDS:
        said = refusal(capsys, [*NUMBERS[flag], f"{flag}={word}"])
        assert (word[:50] if flag != "--to" or word else flag) in said


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--rows", "0"),
        ("--per-layer", "0"),
        ("--seeds", "0"),
        ("--seeds", "1.5"),
        ("--trials", "0"),
        ("--trials", "10000000000"),
        ("--ray-gpus", "1.5"),
        ("--budget", "0"),
        ("--budget", "0.0min"),
        ("--margin", "1"),
    ],
)
def test_a_number_out_of_range_is_refused(capsys, flag, word):
    assert f"{flag} '{word}': expected" in refusal(capsys, [*NUMBERS[flag], flag, word])


@pytest.mark.parametrize("name", Flags.model_fields)
def test_a_wrong_word_of_a_setting_is_refused_as_set_refuses_it(capsys, name):
    flag = f"--{name.replace('_', '-')}"
    if flag in FREE:
        return
    for word in ("three", "", "9" * 5_000, "[1]", "-1e999"):
        said = refusal(capsys, ["train", "effnet-digits", "--show", f"{flag}={word}"])
        assert flag in said or name in said
        if not word:
            continue
        section = "strategy" if name == "learning_rate" else "train"
        change = f"{section}.{name}={word}"
        other = refusal(capsys, ["train", "effnet-digits", "--show", "--set", change])
        if word == "three" and name not in OWN:
            assert other.partition("expected")[2] in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--schedule cosin", "did you mean 'cosine'?"),
        ("--set train.schedule=cosin", "did you mean 'cosine'?"),
        ("--batch-size aut0", "expected a whole number or 'auto'; did you mean 'auto'?"),
        ("--set strategy.kind=lorra", "strategy.kind = 'lorra': expected 'full', 'head', 'lpft'"),
        ("--set backbone.kind=mlpp", "did you mean 'mlp'?"),
        ("--set train.checkpoint_every=0s", "expected epoch, steps as in 500, or a time"),
        ("--set train.epochs=true", "epochs = True: expected a number"),
        ("--set strategy.learning_rate=true", "learning_rate = True: expected a number"),
        ("--set train.class_weights=[1,true]", "expected a number"),
        ("--set task.augment.crop=[1]", "task.augment.crop = [1]: expected more values"),
        ("--set train.epochs=10000000000", "expected at most 1,000,000,000"),
        ("--set name=Ab", "name = 'Ab': expected small letters, digits"),
        ("--resume=maybe", "--resume 'maybe': expected true or false"),
        ("--out=", "--out: expected a value"),
    ],
)
def test_a_refusal_names_what_is_right(capsys, words, expected):
    said = refusal(capsys, ["train", "effnet-digits", "--show", *words.split()])
    assert expected in said


def test_an_empty_word_after_a_flag_is_refused(capsys):
    said = refusal(capsys, ["train", "effnet-digits", "--show", "--out", ""])
    assert "--out: expected a value, got an empty text" in said


@pytest.mark.parametrize("text", ["9" * 5_000 + "..2", "1..1e400", "1e400..2", "9" * 5_000 + ",2"])
def test_a_search_over_numbers_that_cannot_be_read_is_refused(capsys, text):
    refusal(capsys, ["sweep", "mlp-digits", "--set", f"train.epochs={text}"])


def test_an_error_of_any_size_of_a_word_is_an_ftkit_error():
    with pytest.raises(FtkitError):
        Flags(epochs="three")
