"""What the Hub's clients raise becomes one line, and what may pass is tried again."""

import os
import subprocess
import sys

import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import constants
from huggingface_hub.utils import _http, httpx

import ftkit.hub.errors
from ftkit import Backbone, Data, DataError, HubError, ImageClassification, ModelError
from ftkit.backbones.pretrained import load_model
from ftkit.data.sources import read_source
from ftkit.hub.errors import hub_errors, loading_errors, patiently
from ftkit.tasks import task_of

IMAGES = task_of(ImageClassification())


def refusal(call):
    with pytest.raises(HubError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(**backbone):
    return load_model(Backbone(**backbone), ("cat", "dog"), seed=0, task=IMAGES)


def test_tests_cannot_reach_the_real_hub():
    assert constants.ENDPOINT.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "call", [load, lambda id: read_source(Data(path=id))], ids=["model", "data"]
)
def test_an_unreachable_hub_is_named_and_not_waited_for(call, hub, monkeypatch):
    def wait(seconds):
        raise AssertionError(f"waited for {seconds} s")

    monkeypatch.setattr(ftkit.hub.errors.time, "sleep", wait)
    monkeypatch.setattr(_http.time, "sleep", wait)
    with hub.down():
        message = refusal(lambda: call(id="nobody/nothing"))
    assert "'nobody/nothing'" in message
    assert f"{hub.url} cannot be reached" in message


@pytest.mark.parametrize("name", ["a/b/c", "no body/no thing", "-owner/name"])
def test_a_name_that_is_no_id_is_refused_for_a_backbone(name):
    message = refusal(lambda: load(id=name))
    assert f"backbone '{name}'" in message
    assert "cannot be a Hub id" in message


@pytest.mark.parametrize("name", ["a/b/c", "no body/no thing"])
def test_a_name_that_is_no_id_is_refused_for_a_data_set(name):
    message = refusal(lambda: read_source(Data(path=name)))
    assert f"data set '{name}'" in message
    assert "cannot be a Hub id" in message


def test_offline_mode_is_named():
    code = (
        "from ftkit import Data, HubError\nfrom ftkit.data.sources import read_source\n"
        "try: read_source(Data(path='nobody/nothing'))\nexcept HubError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    expected = "data set 'nobody/nothing': not in the local cache, and HF_HUB_OFFLINE is set"
    assert done.stdout == f"{expected}\n", done.stderr


def test_other_errors_and_results_go_through():
    with pytest.raises(KeyError), hub_errors("data set", "x"):
        raise KeyError("a fault of ours")
    with hub_errors("data set", "x"):
        result = 5
    assert result == 5


def test_a_broken_connection_is_tried_three_times(monkeypatch):
    waited, tries = [], []
    monkeypatch.setattr(ftkit.hub.errors.time, "sleep", waited.append)

    def work():
        tries.append(1)
        raise httpx.ReadError("reset by peer")

    with pytest.raises(httpx.ReadError):
        patiently(work)
    assert len(tries) == 3
    assert waited == list(ftkit.hub.errors.WAITS)


def test_a_wrong_request_is_not_tried_again():
    tries = []

    def work():
        tries.append(1)
        raise FileNotFoundError("no such file")

    with pytest.raises(FileNotFoundError):
        patiently(work)
    assert len(tries) == 1


def test_what_an_address_carries_and_a_token_are_not_told():
    with pytest.raises(HubError) as caught, hub_errors("backbone", "x"):
        raise OSError("404 at https://cdn.example/a.bin?Signature=abc&Key=d for hf_abcDEF123")
    assert "https://cdn.example/a.bin" in str(caught.value)
    assert "Signature" not in str(caught.value)
    assert "abcDEF" not in str(caught.value)


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
            pytest.raises(DataError, match="data set 'owner/rows' cannot be loaded: ") as caught,
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
