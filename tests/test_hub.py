"""What Hugging Face's libraries raise in loading becomes one line, of the Hub or of the content."""

import os
import subprocess
import sys

import pytest
from datasets import Dataset, load_dataset
from huggingface_hub import constants

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
