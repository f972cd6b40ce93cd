"""What the Hub's clients raise becomes one line: endpoint, repository, cause, next step."""

import os
import subprocess
import sys

import pytest
from huggingface_hub import constants

from ftkit import Backbone, Data, HubError
from ftkit.data.sources import read
from ftkit.hub import hub_errors
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
    assert "data set 'a/b/c'" in refusal(lambda: read(Data(path="a/b/c")))


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


def test_other_errors_and_results_go_through():
    with pytest.raises(KeyError), hub_errors("data set", "x"):
        raise KeyError("a fault of ours")
    with hub_errors("data set", "x"):
        result = 5
    assert result == 5
