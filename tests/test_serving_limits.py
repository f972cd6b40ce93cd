"""Each request gets an answer: what was asked, or a status and one line that says why not."""

import gzip
import io
import json
import logging
import math
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from conftest import make_image
from PIL import Image
from serving import HTTP, made_up, served

from ftkit.errors import RecipeError
from ftkit.exported.about import Column
from ftkit.serving.limits import Admission, Limits, Refused
from ftkit.serving.rows import Rows

SMALL = Limits(max_body=100_000, max_pixels=10_000, max_tokens=50, max_rows=4)
JSON = {"Content-Type": "application/json"}


def png(size=(20, 16), mode="RGB"):
    file = io.BytesIO()
    make_image("red", 1, size).convert(mode).save(file, "PNG")
    return file.getvalue()


def bomb():
    """Few bytes, and 81 million pixels."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    assert len(file.getvalue()) < SMALL.max_body
    return file.getvalue()


def images():
    return made_up(lambda image: [1.0, 0.0, 0.0], reads="images")


def texts():
    return made_up(lambda text: [1.0, 0.0, 0.0])


def tables():
    columns = (Column("age"), Column("kind", ("old", "new")))
    return made_up(lambda row: [1.0, 0.0, 0.0], reads="table", columns=columns)


def error(answer):
    """The one line of an answer that is no 200."""
    assert answer.headers["content-type"] == "application/json"
    values = answer.json()
    assert list(values) == ["error"]
    assert values["error"]
    assert "\n" not in values["error"]
    assert len(values["error"]) <= 500
    return values["error"]


def as_json(**values):
    return json.dumps(values).encode()


WRONG_IMAGES = {
    "empty": (b"", {}, 400, "empty"),
    "a text": (b"a text", {}, 400, "not an image"),
    "cut off": (png()[:200], {}, 400, "cannot be read"),
    "a page": (b"<!doctype html><p>x", {"Content-Type": "image/png"}, 400, "web page"),
    "too many bytes": (b"\0" * 100_001, {}, 413, "--max-body"),
    "too many pixels": (png((101, 100)), {}, 413, "--max-pixels"),
    "a bomb": (bomb(), {}, 413, "--max-pixels"),
    "compressed": (gzip.compress(png()), {"Content-Encoding": "gzip"}, 415, "gzip"),
    "a form": (b"--x", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "multipart"),
    "no base64": (as_json(inputs="what?"), JSON, 400, "base64"),
    "no image": (as_json(inputs=[1]), JSON, 400, "no image"),
    "JSON that is none": (b"{'inputs': 1}", JSON, 400, "not JSON"),
    "a wrong top_k": (as_json(inputs="", parameters={"top_k": 0}), JSON, 400, "top_k"),
    "too narrow": (png((900, 1)), {}, 400, "one side is more than"),
}
WRONG_TEXTS = {
    "an image": (png(), {"Content-Type": "image/png"}, 415, "reads no images"),
    "no JSON": (b"{\xff}", JSON, 400, "UTF-8"),
    "nested": (b"[" * 90_000, JSON, 400, "nested"),
    "a list": (b"[1]", JSON, 400, "no object"),
    "no inputs": (as_json(text="x"), JSON, 400, "nothing"),
    "a number": (as_json(inputs=3), JSON, 400, "a number"),
    "an empty list": (as_json(inputs=[]), JSON, 400, "0 texts"),
    "too many": (as_json(inputs=["x"] * 5), JSON, 413, "1 to 4"),
    "too long": (as_json(inputs="x" * 51), JSON, 413, "--max-tokens"),
    "far too long": (as_json(inputs="x" * 801), JSON, 413, "801 bytes"),
    "half a character": (b'{"inputs": "\\ud800"}', JSON, 400, "half a character"),
    "a huge number": (b'{"inputs": ' + b"9" * 5000 + b"}", JSON, 400, "not JSON"),
    "an unknown parameter": (as_json(inputs="x", parameters={"k": 1}), JSON, 400, "'k'"),
    "wrong parameters": (as_json(inputs="x", parameters=[1]), JSON, 400, "no object"),
    "a wrong function": (
        as_json(inputs="x", parameters={"function_to_apply": "tanh"}), JSON, 400, "softmax"
    ),
}  # fmt: skip
WRONG_TABLES = {
    "no table": (as_json(inputs="x"), JSON, 400, "columns age, kind"),
    "rows, not columns": (as_json(table=[{"age": 1}]), JSON, 400, "no table of columns"),
    "a column is missing": (as_json(table={"age": [1]}), JSON, 400, "no column kind"),
    "unequal": (as_json(table={"age": [1], "kind": []}), JSON, 400, "equally long"),
    "empty": (as_json(table={"age": [], "kind": []}), JSON, 400, "0 rows"),
    "too many": (as_json(table={"age": [1] * 5, "kind": [1] * 5}), JSON, 413, "5 rows"),
    "a word": (as_json(table={"age": ["old"], "kind": ["old"]}), JSON, 400, "column 'age'"),
    "a list": (as_json(table={"age": [[1]], "kind": ["old"]}), JSON, 400, "a list"),
    "infinite": (b'{"table": {"age": [1e999], "kind": [1]}}', JSON, 400, "too large"),
    "too large": (
        b'{"table": {"age": [1' + b"0" * 400 + b'], "kind": [1]}}', JSON, 400, "too large"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "cases"),
    [(images, WRONG_IMAGES), (texts, WRONG_TEXTS), (tables, WRONG_TABLES)],
    ids=["images", "texts", "tables"],
)
def test_a_wrong_body_gets_its_status_and_one_line(model, cases):
    with served(model(), SMALL) as url, httpx.Client() as client:
        for name, (body, headers, status, line) in cases.items():
            answer = client.post(url, content=body, headers=headers)
            assert (name, answer.status_code) == (name, status), answer.text
            assert line in error(answer), name


def test_a_body_without_a_length_is_read_no_further_than_the_limit():
    def parts():
        for _ in range(30):
            yield b"\0" * 10_000

    with served(images(), SMALL) as url:
        answer = HTTP.post(url, content=parts())
    assert (answer.status_code, "--max-body" in error(answer)) == (413, True)


def test_a_client_that_asks_before_it_sends_is_refused_before_it_sends():
    with served(images(), SMALL) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_made_up_bytes_get_a_4xx_and_the_service_goes_on():
    drawn = random.Random(0)
    with served(images(), SMALL) as url, httpx.Client() as client:
        for _ in range(100):
            body = drawn.randbytes(drawn.randrange(300))
            kind = drawn.choice(["image/jpeg", "application/json", "x", ""])
            answer = client.post(url, content=body, headers={"Content-Type": kind})
            assert 400 <= answer.status_code < 500
            error(answer)
        assert client.post(url, content=png()).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up():
    with served(texts(), Limits(timeout=0.3)) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")


class Gate:
    """A model that answers when it is let, and says that it was asked."""

    def __init__(self, **about):
        self.asked, self.let = threading.Event(), threading.Event()
        self.model = made_up(self.answer, **about)

    def answer(self, row):
        self.asked.set()
        assert self.let.wait(20)
        return [1.0, 0.0, 0.0]


def test_requests_that_arrive_together_share_a_batch():
    gate = Gate()
    with served(gate.model) as url, ThreadPoolExecutor(8) as pool:
        first = pool.submit(HTTP.post, url, json={"inputs": "first"})
        assert gate.asked.wait(10)
        others = [pool.submit(HTTP.post, url, json={"inputs": f"{n}"}) for n in range(5)]
        until_waiting(url, 6)
        gate.let.set()
        assert [one.result().status_code for one in (first, *others)] == [200] * 6
    sizes = [len(batch) for batch in gate.model.engine.batches]
    assert sizes == [1, 5]


def until_waiting(url, count):
    """Return when so many requests wait, as /metrics says, and have come to the queue."""
    end = time.monotonic() + 20
    while f"ftkit_waiting {count}.0" not in HTTP.get(f"{url}metrics").text:
        assert time.monotonic() < end
    time.sleep(0.1)  # from the door to the queue


def test_too_many_requests_get_503_and_nothing_that_was_let_in_is_lost():
    gate = Gate()
    with served(gate.model, Limits(queue=3)) as url, ThreadPoolExecutor(8) as pool:
        kept = [pool.submit(HTTP.post, url, json={"inputs": f"{n}"}) for n in range(3)]
        until_waiting(url, 3)
        for _ in range(5):
            answer = HTTP.post(url, json={"inputs": "more"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "ask again in 1 s" in error(answer)
        gate.let.set()
        assert [one.result().status_code for one in kept] == [200] * 3
        assert HTTP.post(url, json={"inputs": "later"}).status_code == 200


def test_a_request_that_could_not_be_answered_in_time_is_refused_at_once():
    admission = Admission(Limits(queue=100, timeout=30))
    admission.saw(1, 4.0)  # a quarter of a request in a second
    with pytest.raises(Refused, match="ask again in 16 s"):
        fill(admission, 5)
    admission.saw(1000, 1.0)
    fill(admission, 50)


def fill(admission, count):
    """Let so many requests in, one inside the other."""
    if count:
        with admission.place():
            fill(admission, count - 1)


def test_bodies_that_wait_have_a_limit_together():
    admission = Admission(Limits(max_body=10))
    with admission.place() as one, admission.place() as other:
        one.take(100)
        other.take(60)
        with pytest.raises(Refused) as refused:
            other.take(1)
        assert refused.value.status == 503
    assert (admission.bytes, admission.waiting) == (0, 0)


def test_an_answer_that_comes_too_late_is_a_504_and_the_next_is_answered():
    gate = Gate()
    with served(gate.model, Limits(timeout=0.3)) as url:
        answer = HTTP.post(url, json={"inputs": "x"})
        assert (answer.status_code, "within 0.3 s" in error(answer)) == (504, True)
        gate.let.set()
        assert HTTP.post(url, json={"inputs": "y"}).status_code == 200


def test_a_row_on_which_the_model_fails_fails_no_other(caplog):
    gate = Gate()

    def logits(text):
        if text == "bad":
            raise ZeroDivisionError("of this row")
        return gate.answer(text)

    with served(made_up(logits)) as url, ThreadPoolExecutor(8) as pool:
        first = pool.submit(HTTP.post, url, json={"inputs": "first"})
        assert gate.asked.wait(10)
        rest = [pool.submit(HTTP.post, url, json={"inputs": one}) for one in ("a", "bad", "b")]
        until_waiting(url, 4)
        with caplog.at_level(logging.WARNING):
            gate.let.set()
            found = [one.result() for one in (first, *rest)]
    assert [one.status_code for one in found] == [200, 200, 500, 200]
    assert "of this row" not in error(found[2])
    assert "of this row" in caplog.text


def test_a_damaged_image_in_a_batch_harms_no_other():
    whole = png((60, 60))
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    gate = Gate(reads="images")
    with served(gate.model) as url, ThreadPoolExecutor(8) as pool:
        first = pool.submit(HTTP.post, url, content=whole)
        assert gate.asked.wait(10)
        bodies = (whole, bytes(broken), whole, png((9, 9)))
        rest = [pool.submit(HTTP.post, url, content=body) for body in bodies]
        until_waiting(url, 5)
        gate.let.set()
        found = [one.result() for one in (first, *rest)]
    assert [one.status_code for one in found] == [200, 200, 400, 200, 200]
    assert "cannot be read" in error(found[2])


def test_images_of_several_sizes_in_a_batch_keep_their_answers():
    model = made_up(lambda image: [image.shape[1], 0.0, 0.0], reads="images")
    widths = [30, 10, 20, 10]
    with ThreadPoolExecutor(2) as pool:
        found = Rows(model, Limits(), pool).answer([png((width, 9)) for width in widths])
    assert [logits[0] for logits, _ in found] == widths


@pytest.mark.parametrize("name", ["max_body", "max_pixels", "max_tokens", "queue", "timeout"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_limit_is_greater_than_zero(name, value):
    with pytest.raises(RecipeError, match=f"--{name.replace('_', '-')} "):
        Limits(**{name: value})
