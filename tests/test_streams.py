"""Streams that are closed, full or of few characters end no command in a traceback."""

import errno
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ftkit import RecipeError
from ftkit.cli.main import main
from ftkit.machine.streams import Console, guarded
from ftkit.machine.terminal import speak
from ftkit.registry import find


def stream_of(descriptor, **options):
    return io.TextIOWrapper(open(descriptor, "wb"), encoding="utf-8", **options)


@pytest.fixture
def unread():
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return stream_of(writer)


@pytest.fixture
def full():
    """A disk without room."""
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    return stream_of(os.open("/dev/full", os.O_WRONLY))


COMMANDS = [["list"], ["show", "mlp-text"], ["train", "--help"], ["cache", "list"]]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_reader_that_has_gone_ends_a_command_as_sigpipe_ends_others(
    words, unread, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdout", unread)
    assert main(words) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_disk_behind_stdout_is_one_line(words, full, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", full)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: stdout cannot be written: No space left on device")


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("write", [print, lambda text: Console().print(text)])
def test_a_full_disk_is_told_however_much_is_written(size, write, full, monkeypatch):
    def command():
        write("word " * size)
        return 0

    said = []
    monkeypatch.setattr(sys, "stdout", full)
    assert guarded(command, lambda why: said.append(why) or 2) == 2
    assert said == [
        "stdout cannot be written: No space left on device; nothing else is lost",
    ]


def test_an_error_of_another_file_is_not_that_of_stdout(tmp_path, monkeypatch):
    def command():
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"rows")
        return 0

    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    said = []
    with (tmp_path / "out").open("w", encoding="utf-8") as there:
        monkeypatch.setattr(sys, "stdout", there)
        assert guarded(command, lambda why: said.append(why) or 2) == 2
    assert said == ["No space left on device; mend that, or give another place"]


def test_remarks_that_cannot_be_written_change_no_status(full, monkeypatch):
    monkeypatch.setattr(sys, "stderr", full)
    assert main(["list"]) == 0
    assert main(["show", "nothing-like-it"]) == 2


@pytest.mark.parametrize("names", [["stdin"], ["stdout"], ["stderr"], ["stdin", "stdout"]])
def test_closed_streams_are_as_dev_null(names, monkeypatch):
    for name in names:
        monkeypatch.setattr(sys, name, None)
    assert main(["list"]) == 0
    assert all(getattr(sys, name) is not None for name in names)


def test_a_process_whose_reader_has_gone_says_nothing_at_its_end():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ftkit.cli", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_stdout_lacks_are_escaped_and_json_stays_json(
    encoding, tmp_path, monkeypatch
):
    recipe = find("mlp-text").override({"description": "Größe → 雪 😀"})
    (tmp_path / "mine.json").write_text(recipe.to_json(), encoding="utf-8")
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_written, encoding=encoding))
    assert main(["show", str(tmp_path / "mine.json")]) == 0
    shown = bytes_written.getvalue().decode(encoding)
    assert json.loads(shown)["description"] == "Größe → 雪 😀"
    print("→ \udcff")
    sys.stdout.flush()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.ENAMETOOLONG, errno.EACCES])
def test_what_a_disk_refuses_is_one_line_also_behind_the_error_of_a_library(number):
    said = []

    def command():
        try:
            raise OSError(number, os.strerror(number), "/some/file")
        except OSError as error:
            raise RuntimeError("a library's") from error

    assert guarded(command, lambda why: said.append(why) or 2) == 2
    assert said == [f"/some/file: {os.strerror(number)}; mend that, or give another place"]


def test_other_errors_are_not_hidden():
    def command():
        raise KeyError("ours")

    with pytest.raises(KeyError):
        guarded(command, lambda why: 2)
    with pytest.raises(RecipeError):
        guarded(lambda: (_ for _ in ()).throw(RecipeError("x")), lambda why: 2)


def test_warnings_of_libraries_do_not_reach_the_terminal(capsys):
    with warnings.catch_warnings():
        speak(quieten=False)
        warnings.warn("precision is ill-defined", UserWarning, stacklevel=1)
        warnings.warn("invalid value", RuntimeWarning, stacklevel=1)
    logging.getLogger("matplotlib.font_manager").warning("findfont: not found")
    assert capsys.readouterr().err == ""


def test_texts_on_stdin_in_another_encoding_are_one_line(tmp_path, monkeypatch, capsys):
    stdin = io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["predict", str(tmp_path)]) == 2
    assert "stdin is not utf-8" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc here")
def test_a_place_that_takes_no_folder_is_one_line():
    said = []
    assert (
        guarded(lambda: Path("/proc/ftkit").mkdir() or 0, lambda line: said.append(line) or 2) == 2
    )
    assert said == ["/proc/ftkit: No such file or directory; mend that, or give another place"]


def test_a_file_that_is_missing_is_no_place_that_takes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        guarded(lambda: int((tmp_path / "none").read_text()), lambda line: 2)


def test_answers_that_nobody_could_read_are_refused_before_any_is_computed(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it where the shell closed it
    assert main(["predict", str(tmp_path), "a text"]) == 2
    assert "stdout is closed" in capsys.readouterr().err
