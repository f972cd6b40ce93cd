"""The errors of ftkit: one base to catch, an exit status for the command line, a nearest name."""

import inspect

import pytest

from ftkit import errors
from ftkit.errors import FtkitError, nearest

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_can_be_caught_as_the_base(kind):
    with pytest.raises(FtkitError, match="what was given"):
        raise kind("what was given")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_wrong_request_exits_with_two_and_a_failed_run_with_one(kind):
    failed_runs = {"MachineError", "TrainingError", "VerificationError"}
    assert kind.exit_status == (1 if kind.__name__ in failed_runs else 2)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_a_public_name(kind):
    import ftkit

    assert kind.__name__ in ftkit.__all__
    assert getattr(ftkit, kind.__name__) is kind


def test_a_slip_of_the_finger_is_answered_with_the_nearest_name():
    known = ["vit-cifar", "resnet-cifar", "convnext-pets"]
    assert nearest("vit-cifr", known) == "; did you mean 'vit-cifar'?"
    assert nearest("convnet-pets", known) == "; did you mean 'convnext-pets'?"


def test_a_name_like_none_is_answered_with_nothing():
    assert nearest("zzz", ["vit-cifar", "resnet-cifar"]) == ""
    assert nearest("vit-cifar", []) == ""


def test_names_may_come_as_any_iterable():
    assert nearest("imgae", (name for name in ("image", "label"))) == "; did you mean 'image'?"
    assert nearest("imgae", {"image": 1, "label": 2}) == "; did you mean 'image'?"


def test_a_message_is_one_line_of_bounded_length_whatever_it_tells():
    error = FtkitError("no file 'a\nb\x07\udcff':\r\n  gone\u2028" + "x" * 9_000)
    assert str(error).startswith("no file 'a b\\x07\\udcff': ")
    assert len(str(error)) < 1_000
    assert str(error).isprintable()
    assert str(FtkitError(str(error))) == str(error)
