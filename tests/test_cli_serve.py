"""`ftkit serve` as a user starts and ends it."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import leave_unverified, make_image
from perceptrons import of_colours
from serving import HTTP

from ftkit import finetune
from ftkit.cli.main import main

TOKEN = "a-long-secret-of-the-tests"
ALONE = (
    "import sys; from ftkit.exported.prove import Absent; sys.meta_path.insert(0, Absent()); "
    "from ftkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(scope="module")
def run(class_folders, tmp_path_factory):
    """A run that has not been exported."""
    folder = tmp_path_factory.mktemp("serve") / "run"
    with pytest.MonkeyPatch.context() as patch:
        leave_unverified(patch)
        finetune(of_colours(class_folders), folder)
    return folder


@pytest.fixture(scope="module")
def exported(run):
    from ftkit.shipping.export import How, export

    return export(run, run.parent / "export", How(proven=False)).folder


class Started:
    """`ftkit serve` in a process of its own."""

    def __init__(self, *words, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ALONE, "serve", *map(str, words), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.said = ""
        while not (found := re.search(r"http://\S+", self.said)):
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.url = found[0]

    def ended(self, number=signal.SIGTERM):
        """End it by a signal and return its status."""
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=30)[0]
        return self.process.returncode


def picture(tmp_path):
    file = tmp_path / "red.png"
    make_image("red", 1).save(file)
    return file.read_bytes()


def test_a_signal_ends_it_when_all_that_was_let_in_is_answered_and_torch_is_not_needed(
    exported, tmp_path
):
    for number in (signal.SIGTERM, signal.SIGINT):
        server, image = Started(exported), picture(tmp_path)
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(image)}\r\n\r\n"
            connection.sendall(head.encode() + image[:100])
            while "ftkit_waiting 1.0" not in HTTP.get(f"{server.url}metrics").text:
                time.sleep(0.01)
            server.process.send_signal(number)
            while is_open(port):
                time.sleep(0.01)
            connection.sendall(image[100:])
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"label"' in answer
        server.said += server.process.communicate(timeout=30)[0]
        assert server.process.returncode == 0
        assert server.said.splitlines()[1:] == [
            "stopped; all requests that were let in have been answered"
        ]


def is_open(port):
    """Whether somebody listens there."""
    with socket.socket() as other:
        return other.connect_ex(("127.0.0.1", port)) == 0


def test_it_says_what_is_served_and_where_and_never_the_token(exported, tmp_path):
    server = Started(exported, FTKIT_SERVE_TOKEN=TOKEN)
    assert re.fullmatch(
        r".*model\.onnx \(image-classification, 3 classes\) answers at "
        r"http://127\.0\.0\.1:\d+/ until Ctrl-C\n",
        server.said,
    )
    image = picture(tmp_path)
    assert HTTP.post(server.url, content=image).status_code == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert HTTP.post(server.url, content=image, headers=right).status_code == 200
    assert server.ended() == 0
    assert TOKEN not in server.said


def test_a_run_without_an_export_is_exported_first(run, monkeypatch):
    from ftkit.cli import serve

    assert not (run / "export").exists()
    found = serve._exported(run, 1)
    assert found.about.classes == ("blue", "green", "red")
    assert (run / "export" / "onnx" / "export.json").is_file()
    monkeypatch.setattr("ftkit.shipping.export.export", None)  # a second time it is not made
    assert serve._exported(run, 1).file == found.file


def test_an_export_of_another_model_than_the_run_has_is_refused(run, capsys):
    from ftkit.cli import serve

    serve._exported(run, 1)
    config = run / "model" / "config.json"
    text = config.read_text()
    try:
        config.write_text(text + " ")
        assert main(["serve", str(run), "--port", "0"]) == 2
    finally:
        config.write_text(text)
    said = capsys.readouterr().err
    assert "was made of another model" in said
    assert f"ftkit export {run} --overwrite" in said


def test_a_port_that_somebody_has_is_one_line(exported, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(exported), "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: 127.0.0.1 port \d+ cannot be had \(.* in use\); .*\n", said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "70000"], "--port '70000': expected at most 65,535"),
        (["--port", "abc"], "--port 'abc': expected a whole number"),
        (["--queue", "0"], "--queue '0': expected greater than 0"),
        (["--timeout", "-1"], "--timeout '-1': expected greater than 0"),
        (["--threads", "0"], "--threads '0': expected greater than 0"),
        (["--token", "short"], "--token: expected 8 or more"),
        (["--token", "with a space"], "--token: expected 8 or more"),
        (["--prot", "1"], "--prot"),
    ],
)
def test_a_wrong_flag_is_one_line(exported, words, said, capsys):
    assert main(["serve", str(exported), *words]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1
    assert "with a space" not in found


def test_a_path_without_run_and_export_is_one_line(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "nothing"), "--port", "0"]) == 2
    assert "there is no run and no export at" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named_before_anything_else(tmp_path, package, monkeypatch, capsys):
    whole = importlib.util.find_spec
    monkeypatch.setattr(
        "ftkit.exported.engines.find_spec", lambda name: None if name == package else whole(name)
    )
    assert main(["serve", str(tmp_path / "nothing")]) == 1
    said = capsys.readouterr().err
    assert said == f"error: the package {package} is missing: pip install 'ftkit[serve]'\n"
