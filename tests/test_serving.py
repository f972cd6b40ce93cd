"""What `ftkit serve` answers is what `InferenceClient` reads, and what `ftkit predict` says."""

import base64
import io
import json

import fruit_texts
import named_words
import numpy as np
import pytest
from conftest import leave_unverified, make_image
from huggingface_hub import InferenceClient
from perceptrons import of_colours, of_flowers
from PIL import Image
from serving import HTTP, made_up, served

from ftkit import finetune
from ftkit.exported.model import open_export
from ftkit.prediction.predict import predict
from ftkit.shipping.export import How, export

PHOTO = (4000, 3000)


def shipped(recipe, folder):
    """A finished run of a recipe, with its export."""
    with pytest.MonkeyPatch.context() as patch:
        leave_unverified(patch)
        finetune(recipe, folder)
    export(folder, how=How(proven=False))
    return folder


@pytest.fixture(scope="module")
def colours_run(class_folders, tmp_path_factory):
    return shipped(of_colours(class_folders), tmp_path_factory.mktemp("colours") / "run")


@pytest.fixture(scope="module")
def flowers_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flowers")
    return shipped(of_flowers(folder), folder / "run")


@pytest.fixture(scope="module")
def words_run(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    file = fruit_texts.write(folder, fruit_texts.make_rows())
    return shipped(fruit_texts.recipe_for(file, checkpoint("bert")), folder / "run")


@pytest.fixture(scope="module")
def names_run(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    data = named_words.write(folder / "rows", named_words.make_rows())
    return shipped(named_words.recipe_for(data, checkpoint("bert")), folder / "run")


def exported(run):
    return open_export(run / "export" / "onnx", 1)


def kinds_of_images(folder):
    """One image in each way in which images come, as files."""
    red = make_image("red", 3, (60, 40))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    left = Image.new("RGB", (60, 40), (30, 60, 200))
    left.paste(make_image("red", 1, (20, 40)), (0, 0))
    deep = (np.arange(2400, dtype=np.uint32).reshape(40, 60) * 27).astype(np.uint16)
    large = make_image("green", 5, (80, 60)).resize(PHOTO)
    red.convert("L").save(folder / "grey.png")
    red.convert("RGBA").save(folder / "rgba.png")
    red.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(deep).save(folder / "deep.png")
    left.save(folder / "turned.jpg", exif=orientation)
    large.save(folder / "large.jpg")
    return sorted(folder.iterdir())


def test_images_of_every_kind_are_answered_as_by_predict(colours_run, tmp_path):
    files = kinds_of_images(tmp_path)
    columns = predict(colours_run, [str(file) for file in files]).columns
    with served(exported(colours_run)) as url:
        for row, file in enumerate(files):
            found = InferenceClient(model=url).image_classification(file)
            assert found[0].label == columns["prediction"][row], file
            scores = sorted(columns["probability"][row], reverse=True)
            assert [one.score for one in found] == pytest.approx(scores, abs=1e-5), file


def test_an_image_comes_as_bytes_or_as_base64_with_parameters(colours_run):
    file = io.BytesIO()
    make_image("red", 1).save(file, "PNG")
    with served(exported(colours_run)) as url:
        client = InferenceClient(model=url)
        whole = client.image_classification(file.getvalue())
        assert {one.label for one in whole} == {"blue", "green", "red"}
        assert client.image_classification(file.getvalue(), top_k=2) == whole[:2]
        raw = client.image_classification(file.getvalue(), function_to_apply="none")
        powers = np.exp([one.score for one in raw])
        assert powers / powers.sum() == pytest.approx([one.score for one in whole], abs=1e-5)
        text = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        assert HTTP.post(url, json={"inputs": text}).json()[0]["label"] == whole[0].label
        one = HTTP.post(f"{url}?top_k=1", content=file.getvalue()).json()
        assert [found["label"] for found in one] == [whole[0].label]


def test_texts_are_answered_as_by_the_pipeline_of_transformers(words_run):
    from transformers import pipeline

    texts = ["apple pear", "iron gold tin", "lead plum apple", ""]
    pipe = pipeline("text-classification", model=str(words_run / "model"))
    with served(exported(words_run)) as url:
        client = InferenceClient(model=url)
        for text in texts:
            for parameters in ({}, {"top_k": 1}, {"function_to_apply": "sigmoid"}):
                found = client.text_classification(text, **parameters)
                right = pipe(text, **{"top_k": None, **parameters})
                assert [one.label for one in found] == [one["label"] for one in right]
                scores = [one["score"] for one in right]
                assert [one.score for one in found] == pytest.approx(scores, abs=1e-5)
        many = HTTP.post(url, json={"inputs": texts}).json()
        assert [row[0]["label"] for row in many] == [
            one[0]["label"] for one in pipe(texts, top_k=None)
        ]


@pytest.mark.parametrize("strategy", ["none", "simple", "first"])
@pytest.mark.parametrize("ignored", [None, []])
def test_words_are_answered_as_by_the_pipeline_of_transformers(names_run, strategy, ignored):
    from transformers import pipeline

    text = "apple cherry and  iron\tlead and\ngold and and cherry"  # each word is one token
    if strategy == "first":  # for which the pipeline knows no words but those between spaces
        text = " ".join(text.split())
    pipe = pipeline("token-classification", model=str(names_run / "model"))
    right = pipe(text, aggregation_strategy=strategy, ignore_labels=ignored)
    with served(exported(names_run)) as url:
        client = InferenceClient(model=url)
        found = client.token_classification(
            text, aggregation_strategy=strategy, ignore_labels=ignored
        )
    assert len(found) == len(right) > 0
    name = "entity" if strategy == "none" else "entity_group"
    for one, other in zip(found, right, strict=True):
        assert (one[name], one.start, one.end) == (other[name], other["start"], other["end"])
        assert one.score == pytest.approx(float(other["score"]), abs=1e-5)
        assert one.word == text[one.start : one.end]


def test_words_are_grouped_unless_the_client_says_otherwise(names_run):
    text = "apple cherry and iron"
    with served(exported(names_run)) as url:
        client = InferenceClient(model=url)
        plain = client.token_classification(text, ignore_labels=[])
        assert plain == client.token_classification(
            text, ignore_labels=[], aggregation_strategy="simple"
        )
        assert HTTP.post(url, json={"inputs": " "}).json() == []
        answer = HTTP.post(
            url, json={"inputs": text, "parameters": {"aggregation_strategy": "max"}}
        )
        assert (answer.status_code, "none, simple, first" in answer.text) == (400, True)


def test_a_table_is_answered_as_by_predict(flowers_run, tmp_path):
    table = {"width": ["0.1", 1.2, "2", -1], "height": [0.0, "-1.1", -2.1, 1.5], "kind": [0] * 4}
    file = tmp_path / "new.csv"
    rows = zip(table["width"], table["height"], strict=True)
    file.write_text("width,height\n" + "".join(f"{w},{h}\n" for w, h in rows))
    columns = predict(flowers_run, [str(file)]).columns
    with served(exported(flowers_run)) as url:
        client = InferenceClient(model=url)
        assert client.tabular_classification(table) == list(columns["prediction"])
        older = HTTP.post(url, json={"inputs": {"data": table}}).json()
        assert older == list(columns["prediction"])
        scored = HTTP.post(url, json={"table": table, "parameters": {"top_k": 1}}).json()
        assert [row[0]["label"] for row in scored] == list(columns["prediction"])
        sure = [max(row) for row in columns["probability"]]
        assert [row[0]["score"] for row in scored] == pytest.approx(sure, abs=1e-5)


def test_a_number_has_the_label_that_a_pipeline_gives_it():
    model = made_up(lambda text: [len(text) / 2], "number", ())
    with served(model) as url:
        (found,) = InferenceClient(model=url).text_classification("seven")
    assert (found.label, found.score) == ("LABEL_0", 2.5)


def test_numbers_of_a_table_are_a_list_and_none_where_there_is_no_number():
    from ftkit.exported.about import Column

    model = made_up(
        lambda row: [row["age"] * 2 if row["age"] is not None else np.nan],
        "number", (), "table", columns=(Column("age"),),
    )  # fmt: skip
    with served(model) as url:
        assert HTTP.post(url, json={"table": {"age": [1, 2.5, None]}}).json() == [2.0, 5.0, None]


def test_all_tags_have_their_own_probability():
    model = made_up(lambda text: [0.0, 20.0, -20.0], "tags")
    with served(model) as url:
        found = InferenceClient(model=url).text_classification("a text")
    assert [(one.label, round(one.score, 3)) for one in found] == [
        ("dog", 1.0), ("cat", 0.5), ("eel", 0.0)
    ]  # fmt: skip


def test_a_pair_of_texts_comes_as_the_pipeline_takes_it():
    model = made_up(lambda pair: [len(pair[0]), len(pair[1]), 0], pair=True)
    with served(model) as url:
        pair = {"text": "a", "text_pair": "longer"}
        assert InferenceClient(model=url).text_classification(pair)[0].label == "dog"


def test_of_many_classes_of_an_image_five_are_told_and_of_a_text_all():
    names = [f"kind {number}" for number in range(8)]
    texts = made_up(lambda text: list(range(8)), classes=names)
    with served(texts) as url:
        found = InferenceClient(model=url).text_classification("a text")
        assert [one.label for one in found] == names[::-1]
    images = made_up(lambda image: list(range(8)), classes=names, reads="images")
    file = io.BytesIO()
    make_image("red", 1).save(file, "PNG")
    with served(images) as url:
        found = InferenceClient(model=url).image_classification(file.getvalue())
        assert [one.label for one in found] == names[:2:-1]


def test_answers_are_json_of_utf8():
    model = made_up(lambda text: [1.0, 0.0], classes=("Äpfel", "naïve \u2028 名"))
    with served(model) as url:
        answer = HTTP.post(url, json={"inputs": "x"})
    assert answer.headers["content-type"] == "application/json"
    assert [one["label"] for one in json.loads(answer.content)[0]] == ["Äpfel", "naïve \u2028 名"]
