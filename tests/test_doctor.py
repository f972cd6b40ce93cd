"""ftkit doctor: what is broken is named with what to do, whatever it is, and no token is shown."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from hub_server import OWNER, READER

from ftkit.cli import doctor, doctor_hub
from ftkit.cli.main import main

CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A function that puts a package before all others on the path."""

    def make(name, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path / name

    return make


def test_the_command_says_all_at_once_without_the_hub_and_without_the_token(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "__init__.py").write_text("raise ModuleNotFoundError('not for you')\n")
    environment = {"PYTHONPATH": str(tmp_path), "HF_ENDPOINT": CLOSED, "HF_TOKEN": OWNER}
    done = subprocess.run(
        [sys.executable, "-m", "ftkit.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    answer = json.loads(done.stdout)
    found = {finding["name"]: finding for finding in answer["findings"]}
    assert answer["versions"]["torch"] == metadata.version("torch")
    assert found["torchvision"]["state"] == found["packages"]["state"] == "ok"
    assert "fp32" in found["cpu"]["found"]
    assert found["hub"]["state"] == "note"
    assert f"{CLOSED} cannot be reached" in found["hub"]["found"]
    assert found["recipes"]["state"] == "wrong"
    assert f"{tmp_path / 'recipes'} is not ftkit's" in found["recipes"]["found"]
    assert "Reinstall ftkit" in found["recipes"]["todo"]
    assert not answer["ok"]
    assert done.returncode == 1
    assert done.stderr.startswith("error: recipes: ")
    assert done.stderr.count("\n") == 1
    assert OWNER not in done.stdout + done.stderr


def test_a_torchvision_for_another_torch_is_named_with_what_to_do(broken):
    broken("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')\n")
    (finding,) = doctor.torchvision()
    assert finding.state == "wrong"
    assert f"with torch {metadata.version('torch')} does not work" in finding.found
    assert "operator torchvision::nms does not exist" in finding.found
    assert "pip install --force-reinstall torch torchvision" in finding.todo


def test_a_torch_that_crashes_is_a_line_and_not_the_end(broken):
    broken("torch", "import os\nos.kill(os.getpid(), 11)\n")
    (finding,) = doctor.devices()
    assert (finding.state, finding.name) == ("wrong", "torch")
    assert "it crashed (signal 11)" in finding.found


def test_an_import_that_hangs_is_not_waited_for(broken, monkeypatch):
    broken("torch", "import time\ntime.sleep(600)\n")
    monkeypatch.setattr(doctor, "PATIENCE", 1.0)
    (finding,) = doctor.devices()
    assert "no answer in 1 s" in finding.found


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch):
    version = metadata.version

    def other(name):
        if name == "timm":
            raise metadata.PackageNotFoundError(name)
        return "0.1.0" if name == "peft" else version(name)

    monkeypatch.setattr(metadata, "version", other)
    wrong = [finding for finding in doctor.packages() if finding.state == "wrong"]
    assert [finding.found.split()[0] for finding in wrong] == ["peft", "timm"]
    assert all(finding.todo.startswith("pip install '") for finding in wrong)


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "TOO_LITTLE", 1e18)
    monkeypatch.setattr(doctor, "LITTLE", 1e18)
    findings = [finding for finding in doctor.disk() if "GB free" in finding.found]
    assert {finding.state for finding in findings} == {"wrong"}
    assert all(finding.todo for finding in findings)


@pytest.mark.parametrize(
    ("token", "state", "said"),
    [
        (OWNER, "ok", "it may read and write"),
        (READER, "note", "it may read"),
        ("hf_madeUp", "note", "rejects the token of $HF_TOKEN"),
        ("hf_bellü", "note", "could not be looked at: UnicodeEncodeError"),
        (None, "ok", "none: public repositories can be read"),
    ],
)
def test_what_a_token_may_do_is_said_and_the_token_is_not(hub, monkeypatch, token, state, said):
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    there, found = doctor.hub()
    assert (there.state, there.name) == ("ok", "hub")
    assert (found.state, found.name) == (state, "token")
    assert said in found.found
    assert token is None or token.partition("_")[2] not in str(found)
    assert "bell" not in str(found)


def test_the_rights_of_a_fine_grained_token_are_told():
    scope = {"entity": {"name": "alice"}, "permissions": ["repo.content.read", "repo.write"]}
    token = {"role": "fineGrained", "fineGrained": {"global": ["post.write"], "scoped": [scope]}}
    who = {"name": "alice", "auth": {"accessToken": token}}
    _, good, found, todo = doctor_hub._rights(200, who, "https://hub")
    assert good
    assert not todo
    assert "post.write, repo.content.read in alice, repo.write in alice" in found


def test_offline_the_hub_is_not_asked(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", "http://example.invalid")
    (finding,) = doctor.hub()
    assert "HF_HUB_OFFLINE is set" in finding.found


def test_a_good_machine_gives_no_error(monkeypatch, capsys):
    good = doctor.Diagnosis("cpu", "ok", "two cores")
    note = doctor.Diagnosis("hub", "note", "not there", "look at the network")
    monkeypatch.setattr(doctor, "examine", lambda: [good, note])
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", "cpu"], ["note", "hub"]]
    assert lines[1].endswith("; look at the network")
