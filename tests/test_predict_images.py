"""A finished run answers images: by name, in folders, by an adapter alone, by a CNN."""

import pytest
from conftest import COLOURS, leave_unverified, make_image
from PIL.JpegImagePlugin import JpegImageFile
from test_predict import the_same

from ftkit import DataError, Lora, finetune
from ftkit.prediction.predict import predict


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    leave_unverified(monkeypatch)


def test_an_image_beside_class_folders_is_answered_and_leaves_the_others_their_figures(
    finished_run, tmp_path, caplog
):
    caplog.set_level("INFO")
    for colour in COLOURS:
        (tmp_path / colour).mkdir()
        for number in range(4):
            make_image(colour, 100 + number).save(tmp_path / colour / f"{number}.png")
    alone = predict(finished_run, [str(tmp_path)])
    make_image("red", 200).save(tmp_path / "loose.png")
    found = predict(finished_run, [str(tmp_path)])
    assert found.metrics["accuracy"] == alone.metrics["accuracy"]
    assert (found.measured, len(found)) == (12, 13)
    known = [label for label in found.columns["label"] if label is not None]
    assert known == list(alone.columns["label"])
    assert "1 row beside the class folders has no label (loose.png)" in caplog.text
    assert "figures are of the 12 of 13 rows whose label is known" in caplog.text
    assert "column 'label'" not in caplog.text


def test_images_in_a_folder_without_classes_and_by_name(finished_run, tmp_path, caplog):
    for number, colour in enumerate(COLOURS):
        make_image(colour, 100 + number).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    caplog.set_level("INFO")
    found = predict(finished_run, [str(tmp_path)])
    assert [path.rpartition("/")[2] for path in found.columns["image"]] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    assert "left out row 3" in caplog.text
    one = predict(finished_run, [str(tmp_path / "1.png")])
    assert one.columns["prediction"] == [found.columns["prediction"][1]]
    assert one.columns["probability"][0] == pytest.approx(found.columns["probability"][1], abs=1e-4)


def cut(file):
    """Cut off the second half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage(file):
    """Write an image there whose first and last bytes are right."""
    make_image("red", 0).resize((64, 64)).save(file, "PNG")
    content = file.read_bytes()
    file.write_bytes(content[:60] + b"\0" * 8 + content[68:])


@pytest.fixture
def four(tmp_path):
    """A folder of three images and one that is cut off."""
    (tmp_path / "four").mkdir()
    for number, colour in enumerate([*COLOURS, "red"]):
        pixels = make_image(colour, 100 + number).resize((64, 64))
        pixels.save(tmp_path / "four" / f"{number}.jpg", quality=95)
    cut(tmp_path / "four" / "1.jpg")
    return tmp_path / "four"


@pytest.mark.parametrize("spoil", [cut, damage])
def test_an_image_that_is_cut_off_is_left_out_and_the_others_are_answered(
    finished_run, four, caplog, spoil
):
    caplog.set_level("INFO")
    spoil(four / "1.jpg")
    found = predict(finished_run, [str(four)])
    assert [path[-5:] for path in found.columns["image"]] == ["0.jpg", "2.jpg", "3.jpg"]
    assert caplog.text.count("left out row 1") == 1
    assert caplog.text.count("no folder or table says their classes") == 1
    (four / "1.jpg").unlink()
    alone = predict(finished_run, [str(four)])
    assert list(alone.columns["prediction"]) == list(found.columns["prediction"])


def test_a_perceptron_leaves_out_an_image_that_is_cut_off(colours, four, tmp_path):
    finetune(colours, tmp_path / "run")
    found = predict(tmp_path / "run", [str(four)])
    assert [path[-5:] for path in found.columns["image"]] == ["0.jpg", "2.jpg", "3.jpg"]


def test_where_every_image_is_cut_off_there_is_none_to_answer(finished_run, four):
    for file in four.glob("[023].jpg"):
        cut(file)
    with pytest.raises(DataError, match=r"there is no row to answer .*: it cannot be read"):
        predict(finished_run, [str(four)])


def test_images_are_decoded_once(finished_run, four, monkeypatch):
    (four / "1.jpg").unlink()
    loaded, load = [], JpegImageFile.load

    def noted(image):
        loaded.append(image.fp is not None and image.fp.name)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", noted)
    predict(finished_run, [str(four)])
    assert sorted(name[-5:] for name in loaded if name) == ["0.jpg", "2.jpg", "3.jpg"]


@pytest.mark.parametrize("family", ["vit", "timm-resnet"])
def test_an_adapter_alone_answers_on_its_backbone(
    family, tiny_recipe, class_folders, checkpoint, tmp_path
):
    changes = {"strategy": Lora(merge=False), "backbone.id": str(checkpoint(family))}
    result = finetune(tiny_recipe.override(changes), tmp_path / "run")
    found = predict(tmp_path / "run", [str(class_folders)])
    the_same(found, tmp_path / "run")
    assert result.n < len(found)


@pytest.mark.parametrize("family", ["resnet", "timm-resnet"])
def test_a_cnn_answers(family, tiny_recipe, class_folders, checkpoint, tmp_path):
    changes = {"backbone.id": str(checkpoint(family)), "train.epochs": 1}
    finetune(tiny_recipe.override(changes), tmp_path / "run")
    found = predict(tmp_path / "run", [str(class_folders)])
    assert set(found.columns["label"]) == set(COLOURS)
    the_same(found, tmp_path / "run")
