"""What Hugging Face's libraries raise in loading becomes one line, of the Hub or of the content."""

import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from datasets import Dataset, load_dataset
from huggingface_hub import constants
from safetensors.torch import load_file

from ftkit import Backbone, Data, DataError, HubError, ModelError
from ftkit.data.sources import read
from ftkit.hub import loading_errors
from ftkit.models import load_model

DEAD = "http://127.0.0.1:9"


def refusal(call):
    with pytest.raises(HubError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(**backbone):
    return load_model(Backbone(**backbone), ("cat", "dog"), seed=0)


def test_tests_cannot_reach_the_real_hub():
    assert constants.ENDPOINT == DEAD


def test_an_unreachable_hub_is_named_for_a_backbone():
    message = refusal(lambda: load(id="nobody/nothing"))
    assert "backbone 'nobody/nothing'" in message
    assert DEAD in message
    assert "cannot be reached" in message


@pytest.mark.parametrize("name", ["a/b/c", "no body/no thing", "-owner/name"])
def test_a_name_that_is_no_id_is_refused_for_a_backbone(name):
    message = refusal(lambda: load(id=name))
    assert f"backbone '{name}'" in message
    assert "cannot be a Hub id" in message


def test_a_name_that_is_no_id_is_refused_for_a_data_set():
    message = refusal(lambda: read(Data(path="no body/no thing")))
    assert "data set 'no body/no thing'" in message
    assert "cannot be a Hub id" in message


def test_a_missing_path_of_three_parts_is_named_for_a_data_set():
    with pytest.raises(DataError, match="data set 'a/b/c': Couldn't find any data file"):
        read(Data(path="a/b/c"))


REQUESTS = {
    "data set": "from ftkit.data.sources import read; read(Data(path='nobody/nothing'))",
    "backbone": "from ftkit.models import load_model; "
    "load_model(Backbone(id='nobody/nothing'), ('a', 'b'), seed=0)",
}


@pytest.mark.parametrize("what", REQUESTS)
def test_offline_mode_is_named(what):
    code = (
        f"from ftkit import Backbone, Data, HubError\n"
        f"try: {REQUESTS[what]}\nexcept HubError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert (
        f"{what} 'nobody/nothing': not in the local cache, and HF_HUB_OFFLINE is set" in done.stdout
    ), done.stderr
    assert done.stdout.count("\n") == 1


@pytest.fixture
def hub(tmp_path):
    """A Hub on loopback that gives the files in `tmp_path / "hub"` and notes what it is asked."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            _, found, file = self.path.partition("/resolve/main/")
            content = b'{"id": "owner/pickled", "private": false}'
            if found:
                path = tmp_path / "hub" / file
                content = path.read_bytes() if path.is_file() else None
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hash(content)}"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *words):
            """Say nothing."""

    asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_no_service_is_asked_to_convert_pickled_weights(checkpoint, hub, tmp_path):
    shutil.copytree(checkpoint("vit"), tmp_path / "hub")
    weights = load_file(tmp_path / "hub" / "model.safetensors")
    torch.save(weights, tmp_path / "hub" / "pytorch_model.bin")
    (tmp_path / "hub" / "model.safetensors").unlink()
    endpoint, asked = hub
    code = (
        "from ftkit import Backbone\nfrom ftkit.models import load_model\n"
        "load_model(Backbone(id='owner/pickled', allow_pickle=True), ('a', 'b'), seed=0)"
    )
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}
    del environment["DISABLE_SAFETENSORS_CONVERSION"]  # ftkit sets it itself
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "/owner/pickled/resolve/main/pytorch_model.bin" in asked
    # the first question of a conversion: does somebody's earlier one still fit?
    assert not [path for path in asked if path.startswith("/api/models/owner/pickled/commits")]


def test_what_is_broken_is_no_fault_of_the_hub(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_files: rows.parquet\n"
        "- config_name: large\n  data_files: more.parquet\n---\n"
    )
    Dataset.from_dict({"x": [1]}).to_parquet(tmp_path / "rows.parquet")
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "more.parquet").write_bytes(whole[: len(whole) // 2])
    for name, cause in (
        ("smal", "'smal' not found. Available: ['small', 'large']"),
        ("large", "Parquet magic bytes not found"),
    ):
        with (
            pytest.raises(DataError, match="data set 'owner/rows': ") as caught,
            loading_errors("data set", "owner/rows", DataError),
        ):
            load_dataset(str(tmp_path), name)
        assert cause in str(caught.value)
        assert "\n" not in str(caught.value)


def test_interrupts_own_errors_and_results_go_through():
    with pytest.raises(KeyboardInterrupt), loading_errors("data set", "x", DataError):
        raise KeyboardInterrupt
    own = ModelError("said already")
    with pytest.raises(ModelError) as caught, loading_errors("data set", "x", DataError):
        raise own
    assert caught.value is own
    with loading_errors("data set", "x", DataError):
        result = 5
    assert result == 5
