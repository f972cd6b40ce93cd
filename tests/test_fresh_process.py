"""What lies in the working directory is not taken for a module."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
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


ECHO = """
import sys


def main(*words):
    print(f"heard {words}", file=sys.stderr)
    if "fail" in words:
        raise ValueError("it failed\\nfor a reason")
    if "die" in words:
        os.kill(os.getpid(), 9)
"""
WAITING = {"fork": fresh_process.Forked, "python": fresh_process.Waiting}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "echo.py").write_text("import os" + ECHO)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "mine"), *sys.path])
    yield "echo"
    sys.modules.pop("echo", None)


@pytest.mark.parametrize(
    ("orders", "end"),
    [
        ([["a", "b c"]], 0),
        ([["a"], ["\u00e9\n", True]], 0),
        ([["fail"], ["a"]], (1, "for a reason")),
        ([["die"]], -9),
        ([], 0),
    ],
)
@pytest.mark.parametrize("kind", WAITING)
def test_a_waiting_process_carries_out_its_orders(module, cold, kind, orders, end):
    found = WAITING[kind](module).carry_out(orders)
    assert found == end if isinstance(end, tuple) else found[0] == end


def test_what_is_said_by_a_python_of_its_own_is_told(module, cold):
    done = fresh_process.Waiting(module).carry_out([["a"], ["\u00e9\n", True]])
    assert done == (0, "heard ('\u00e9\\n', True)")


@pytest.mark.parametrize("kind", WAITING)
def test_a_waiting_process_ends_when_it_is_told_to_or_killed(module, cold, kind):
    waiting = WAITING[kind](module)
    assert not waiting.has_ended()
    waiting.end()
    assert waiting.has_ended()


@pytest.mark.parametrize("kind", WAITING)
def test_a_waiting_process_ends_with_the_one_that_started_it(module, cold, kind):
    code = (
        "import os, sys; from ftkit.machine import fresh_process; "
        f"sys.path.insert(0, {sys.path[0]!r}); "
        f"print(fresh_process.{WAITING[kind].__name__}('echo').process.pid, flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    child = psutil.Process(int(done.stdout)) if psutil.pid_exists(int(done.stdout)) else None
    assert done.returncode == -9
    if child is not None:
        child.wait(60)


def test_a_process_that_has_computed_nothing_is_forked(module, cold):
    """A fork has what was imported before; after torch, it could wait for threads for ever."""
    code = (
        "import sys; from ftkit.machine.fresh_process import Forked, waiting_for; "
        f"sys.path.insert(0, {sys.path[0]!r}); before = waiting_for('echo'); "
        "import torch; after = waiting_for('echo'); "
        "print([isinstance(one, Forked) for one in (before, after)], "
        "[one.carry_out([['a']])[0] for one in (before, after)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"[{sys.platform == 'linux'},", "False]", "[0,", "0]"]


def test_a_fork_is_not_reached_by_ctrl_c_and_says_nothing(module, capfd):
    waiting = fresh_process.Forked(module)
    while os.getpgid(waiting.process.pid) == os.getpgid(0):
        pass
    assert waiting.carry_out([["a"]])[0] == 0
    assert capfd.readouterr() == ("", "")
