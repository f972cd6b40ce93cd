"""What lies in the working directory is not taken for a module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftkit.cli import doctor
from ftkit.machine import fresh_process

NAMES = ("random", "numpy", "json", "types", "datasets", "evaluate")


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A working directory with files named as modules of Python and of others."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    for name in ("torch", "recipes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fresh_process_imports_what_this_one_would(foreign, monkeypatch):
    mine = foreign.parent / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "shown.py").write_text(
        "import json, random, sys, types\n"
        "import ftkit, recipes\n"
        "print(json.dumps([random.__file__, recipes.__file__, sys.argv[1:], __name__]))\n"
    )
    monkeypatch.syspath_prepend(str(mine))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for here in ("", os.getcwd()):
        monkeypatch.setattr(sys, "path", [here, *sys.path])
        done = subprocess.run(fresh_process.command("shown", "a b"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert '["a b"], "__main__"' in done.stdout
        assert str(foreign) not in done.stdout


def test_the_path_keeps_what_the_user_put_there_and_drops_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/users", "/lib"])
    assert fresh_process.search_path()[:2] == ["/users", "/lib"]
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path), "/lib"])  # PYTHONPATH=.
    assert fresh_process.search_path()[:2] == [str(tmp_path), "/lib"]
    monkeypatch.setattr(sys, "path", ["/bin", "/lib"])
    assert fresh_process.search_path()[:2] == ["/bin", "/lib"]


def test_the_command_line_runs_as_a_module_beside_foreign_files(foreign):
    given = {**os.environ, "PYTHONPATH": str(Path(fresh_process.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "ftkit.cli", "show", "mlp-text"],
        capture_output=True,
        text=True,
        env=given,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_is_not_misled(foreign, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert doctor._try("import random; print('{}')") == {}
