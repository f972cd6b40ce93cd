"""Who may ask a service, what it says of itself, and what its pages may do."""

import hmac
import json
import re
import socket

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from serving import HTTP, made_up, served

from ftkit.exported.about import About, Column
from ftkit.serving.border import Border
from ftkit.serving.limits import Limits
from ftkit.serving.openapi import openapi
from ftkit.serving.pages import description, page
from ftkit.serving.run import listen

TOKEN = "a-long-secret-of-the-tests"
ASK = {"json": {"inputs": "x"}}


@pytest.fixture(scope="module")
def url():
    with served(made_up(lambda text: [1.0, 0.0, 0.0])) as url:
        yield url


@pytest.fixture(scope="module")
def locked():
    with served(made_up(lambda text: [1.0, 0.0, 0.0]), token=TOKEN) as url:
        yield url


def test_a_name_that_somebody_gave_to_this_machine_is_refused(url):
    for path, method in (("", "POST"), ("", "GET"), ("info", "GET"), ("health", "GET")):
        answer = HTTP.request(method, url + path, headers={"Host": "evil.example:80"})
        assert (answer.status_code, list(answer.json())) == (421, ["error"])
    for name in ("localhost", "127.0.0.1:99", "[::1]:99"):
        assert HTTP.post(url, headers={"Host": name}, **ASK).status_code == 200


def test_a_page_of_another_site_is_refused_and_may_read_nothing(url):
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = HTTP.post(url, headers={"Origin": origin}, **ASK)
        assert answer.status_code == 403
    own = HTTP.post(url, headers={"Origin": url.rstrip("/")}, **ASK)
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    before = HTTP.options(url, headers=asked)
    assert (own.status_code, before.status_code) == (200, 405)
    for each in (own, before):
        assert not [name for name in each.headers if name.startswith("access-control")]


def test_a_server_for_other_machines_may_have_any_name():
    assert Border.of("0.0.0.0", None).hosts is None
    assert Border.of("127.0.0.5", None).hosts is not None


def test_without_the_token_only_what_tells_nothing_of_the_model_is_answered(locked):
    for given in (
        None,
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        "Bearer \xe9",
    ):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for method, path in (("POST", ""), ("GET", "info"), ("GET", "metrics")):
            answer = HTTP.request(method, locked + path, headers=headers)
            assert answer.status_code == 401, (given, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.text
    open_to_all = [HTTP.get(locked + path) for path in ("", "health", "docs", "openapi.json")]
    assert [one.status_code for one in open_to_all] == [200] * 4
    assert not [one for one in open_to_all if "cat" in re.findall(r"\w+", one.text)]


def test_the_token_of_the_client_is_the_token_of_the_service(locked):
    found = InferenceClient(model=locked, token=TOKEN).text_classification("x")
    assert found[0].label == "cat"
    with pytest.raises(HfHubHTTPError, match="401"):
        InferenceClient(model=locked, token="hf_other").text_classification("x")
    assert HTTP.get(f"{locked}info", headers={"Authorization": f"bearer {TOKEN}"}).is_success


def test_tokens_are_compared_by_digests_in_constant_time(locked, monkeypatch):
    compared = []
    whole = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *two: compared.append(two) or whole(*two))
    HTTP.post(locked, headers={"Authorization": "Bearer short"}, **ASK)
    ((given, own),) = compared
    assert len(given) == len(own) == 32


def test_a_large_body_without_the_token_still_sees_the_line(locked):
    answer = HTTP.post(locked, content=b"\0" * 5_000_000)
    assert answer.status_code == 401


def test_metrics_are_read_by_prometheus(url):
    from prometheus_client.parser import text_string_to_metric_families

    HTTP.post(url, **ASK)
    HTTP.post(url, content=b"?")
    answer = HTTP.get(f"{url}metrics")
    found = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert answer.headers["content-type"].startswith("text/plain")
    assert found["ftkit_requests_total", "200"] >= 1
    assert found["ftkit_requests_total", "400"] >= 1
    assert found["ftkit_batch_rows_count", None] >= 1
    assert found["ftkit_waiting", None] == 0


def test_an_address_or_a_method_that_there_is_not_is_one_line(url):
    for method, path, status in (("GET", "x", 404), ("PUT", "", 405), ("POST", "info", 405)):
        answer = HTTP.request(method, url + path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize("reads", ["images", "text", "words", "table", "ngrams"])
def test_openapi_says_what_is_read_and_nothing_of_classes_and_columns(reads):
    about = About(
        reads, "words" if reads == "words" else "class", "a-task", ("secret-class",),
        columns=(Column("secret-column"),),
    )  # fmt: skip
    found = openapi(about, Limits(), token=True)
    assert found["openapi"] == "3.1.0"
    content = found["paths"]["/"]["post"]["requestBody"]["content"]
    assert ("image/*" in content) == (reads == "images")
    asked = content["application/json"]["schema"]["required"]
    assert asked == ["table" if reads == "table" else "inputs"]
    assert {"200", "400", "401", "413", "503", "504"} <= set(
        found["paths"]["/"]["post"]["responses"]
    )
    for text in (json.dumps(found), description(found).html):
        assert "secret" not in text


def test_pages_run_and_fetch_nothing_but_what_stands_in_them(url):
    about = About("text", "class", "a-task", ("a",))
    for shown in (page(), description(openapi(about, Limits(), False))):
        rules = shown.headers["Content-Security-Policy"]
        assert rules.startswith("default-src 'none'; connect-src 'self'")
        assert "unsafe" not in rules
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", shown.html)
        assert " style=" not in shown.html
    for path in ("", "docs"):
        answer = HTTP.get(url + path)
        assert answer.headers["content-security-policy"]
        assert answer.headers["content-type"].startswith("text/html")


def test_answers_are_sent_at_once():
    """asyncio sets TCP_NODELAY on the connections of a listener whose protocol is named."""
    with listen("127.0.0.1", 0).listener as listener:
        assert listener.proto == socket.IPPROTO_TCP
