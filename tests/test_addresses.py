"""What an address carries beside host and path is neither printed nor written."""

import json
import logging
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ftkit import Data, DataError, Recipe, RecipeError
from ftkit.cli.main import main
from ftkit.cli.request import command_line, short_name
from ftkit.compare.baselines import holds
from ftkit.data.remote_files import fetch
from ftkit.errors import FtkitError
from ftkit.errors.addresses import shown, without_secrets
from ftkit.finetuning.folder import is_complete
from ftkit.machine.interruption import command_to_go_on
from ftkit.machine.terminal import speak
from ftkit.planning.search_space import parse_space
from ftkit.recipe.strangers import words_to_repeat
from ftkit.registry import find
from ftkit.runs.pinning import shareable
from ftkit.runs.result import RunResult
from ftkit.strategies.cache import key_of
from ftkit.tasks import task_of
from ftkit.tasks.rows_to_answer import read_rows

ADDRESS = "https://joe:s3cret@127.0.0.1:9/rows.csv?X-Amz-Signature=s3cret&id=1"
PLAIN = "https://127.0.0.1:9/rows.csv"
SHOWN = {
    ADDRESS: PLAIN,
    "https://joe@host/x.csv": "https://host/x.csv",
    "https://host:8080/a/b@v1/x.csv?token=1": "https://host:8080/a/b@v1/x.csv",
    "https://host?token=s": "https://host",
    "https://joe:p/w@host/x": "https://host/x",
    "https://joe:p w@host/x": "https://host/x",
    "https://host/x#token=3": "https://host/x",
    "https://[::1]:80/x?a=1": "https://[::1]:80/x",
    "s3://AKIA:abc/de+f@bucket/rows-??.csv": "s3://bucket/rows-??.csv",
    "s3://bucket/year=2020/x?/*.csv": "s3://bucket/year=2020/x?/*.csv",
    "s3://bucket/x.csv?versionId=3": "s3://bucket/x.csv",
    "zip://a.csv::https://joe:pw@host/b.zip?sig=1": "zip://a.csv::https://host/b.zip",
    "hf://datasets/owner/name@rev/x.csv": "hf://datasets/owner/name@rev/x.csv",
    "postgresql+psycopg://u:p@db:5432/name?password=x": "postgresql+psycopg://db:5432/name",
    "file:///tmp/x.csv": "file:///tmp/x.csv",
    "rows.csv": "rows.csv",
    "a?b=c": "a?b=c",
}


@pytest.mark.parametrize("address", SHOWN)
def test_an_address_is_shown_as_host_and_path(address):
    assert shown(address) == SHOWN[address]
    text = "data '{0}': gone; ({0}) or {0}, {0}; give"
    assert without_secrets(text.format(address)) == text.format(SHOWN[address])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "exceeded with url: /x?X-Amz-Signature=ab%2F (Caused by X)",
            "exceeded with url: /x (Caused by X)",
        ),
        ("403, url='https://h/x?sig=a'", "403, url='https://h/x'"),
        ("see https://example.org: it. Then mail joe@x.org", None),
        ("what? a=1, and/or?x", None),
    ],
)
def test_what_clients_quote_is_cut_and_other_words_are_not(text, left):
    assert without_secrets(text) == (left or text)


def test_a_password_that_was_cut_off_is_hidden():
    assert shown("https://joe:s3cre") == "https://"
    assert (
        without_secrets("got 'https://joe:s3cre' and https://joe:s3cr")
        == "got 'https://' and https://"
    )


def test_a_client_that_misreads_an_address_gives_no_piece_of_it_away():
    said = "Port could not be cast to integer value as 'pw'"
    assert without_secrets(said, of="https://joe:pw/abc@host/x").endswith("as '***'")


@pytest.fixture
def secret(tiny_recipe):
    return tiny_recipe.override({"data.path": ADDRESS})


def test_a_recipe_keeps_it_in_memory_alone(secret):
    assert secret.data.path == ADDRESS
    assert secret.with_strategy("head").data.path == ADDRESS
    for text in (
        secret.to_json(),
        secret.model_dump_json(),
        json.dumps(secret.model_dump(mode="json")),
    ):
        assert "s3cret" not in text
        assert PLAIN in text
    assert Recipe.from_json(secret.to_json()) == secret.as_written()
    assert shareable(secret).data.path == "./rows.csv"
    assert words_to_repeat(secret) == ["--set", f"data.path={PLAIN}"]


def test_what_is_said_shows_host_and_path(capsys, caplog):
    assert str(FtkitError(f"data '{ADDRESS}': no")) == f"data '{PLAIN}': no"
    speak(quieten=False)
    logging.getLogger("ftkit.data").warning("fetching %s", ADDRESS)
    assert f"fetching {PLAIN}\n" in capsys.readouterr().err


def test_what_is_to_be_typed_again_shows_host_and_path():
    words = ["train", "mlp-text", "--data", ADDRESS, "--set", f"data.path={ADDRESS}"]
    assert command_to_go_on(words).count(PLAIN) == 2
    assert "s3cret" not in command_to_go_on(words)
    command = command_line("train", "mlp-text", None, ADDRESS, None, [f"data.path={ADDRESS}"], None)
    assert command == f"ftkit train mlp-text --data {PLAIN} --set data.path={PLAIN}"
    assert short_name("https://joe:s3cret@host/data?x=s3cret") == "host"


@pytest.mark.parametrize("command", ["train", "check", "compare"])
def test_a_command_whose_address_does_not_answer_gives_nothing_away(command, capsys, tmp_path):
    more = [] if command == "check" else ["--out", str(tmp_path / "out")]
    assert main([command, "mlp-text", "--data", ADDRESS, *more]) != 0
    said = capsys.readouterr()
    assert PLAIN in said.out + said.err
    assert "s3cret" not in said.out + said.err
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"s3cret" not in file.read_bytes()


def test_show_prints_host_and_path(capsys):
    assert main(["train", "mlp-text", "--data", ADDRESS, "--show"]) == 0
    assert "s3cret" not in capsys.readouterr().out


def test_a_host_that_refuses_is_quoted_without_it():
    """A question mark of an address is no pattern, for which no file would be found."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        do_HEAD = do_GET  # noqa: N815 - as http.server calls it

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = ADDRESS.replace("https", "http").replace(":9/", f":{server.server_port}/")
    try:
        with pytest.raises(DataError, match=r"rows.csv': there is no such file .*403") as caught:
            fetch(address, (".csv",))
    finally:
        server.shutdown()
        server.server_close()
    assert "s3cret" not in str(caught.value)


def test_a_sweep_tries_no_address_that_its_study_would_keep():
    with pytest.raises(RecipeError, match="give one by --data") as caught:
        parse_space([f"data.path={ADDRESS},rows.csv"])
    assert "s3cret" not in str(caught.value)


def test_a_word_that_is_cut_short_gives_nothing_away(tiny_recipe):
    long = "https://joe:" + "s3cret" * 40 + "@127.0.0.1:9/rows.csv"
    with pytest.raises(DataError) as caught:
        read_rows([long, "a"], task_of(tiny_recipe.task), ("red",))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        fetch(long, (".csv",))
    assert "s3cret" not in str(caught.value)


def test_a_run_is_told_by_host_and_path(finished_run, secret, tmp_path):
    """The same command goes on, with the same address or another signature."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    there = Recipe.from_json((run / "recipe.json").read_text()).override({"data.path": ADDRESS})
    (run / "recipe.json").write_text(there.to_json())
    assert is_complete(run, there, resume=True)
    assert is_complete(run, there.override({"data.path": ADDRESS.replace("s3cret", "new")}), True)
    about = {"baseline": "knn", "recipe": there.model_dump(mode="json")}
    (run / "baseline.json").write_text(json.dumps(about))
    assert holds("knn", there, run)
    record = RunResult.read(run).model_copy(update={"dataset": ADDRESS})
    (run / "run.json").write_text(record.model_dump_json())
    assert RunResult.read(run).dataset == PLAIN


def test_the_gradient_recipe_of_an_address_keeps_its_path():
    assert find("mlp-diabetes").override({"data.path": PLAIN}).as_written().data.path == PLAIN
    assert key_of({"data": Data(path=PLAIN).model_dump(mode="json")}) == key_of(
        {"data": Data(path=ADDRESS).model_dump(mode="json")}
    )
