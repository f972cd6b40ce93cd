"""The page of an export: what it says of all kinds of rows, and whether people can use it."""

import json
import shutil

import node
import numpy as np
import onnx
import pytest
from browser import CHROMIUM, PAPER, axe
from PIL import Image, ImageCms

from ftkit import Data, Mlp, Recipe, TabularClassification, TextClassification, Train, finetune
from ftkit.exported.about import KEY, About
from ftkit.exported.model import open_export
from ftkit.shipping import browser, page
from ftkit.shipping.browser import answers_in_browser
from ftkit.shipping.export import export

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
CLOSE = 1e-5
AUDIT = """
  const inner = frame.contentWindow;
  const script = inner.document.createElement("script");
  script.src = "/axe.min.js";
  inner.document.body.append(script);
  await wait(() => inner.axe);
  const found = await inner.axe.run();
  return { answers: [...answers, {
    passes: found.passes.length,
    violations: found.violations.map((one) => one.id + ": " + one.nodes[0].html),
    wide: inner.document.documentElement.scrollWidth - inner.innerWidth,
    width: inner.innerWidth,
    paper: inner.getComputedStyle(inner.document.body).backgroundColor,
    said: inner.document.getElementById("status").textContent,
  }] };"""


@pytest.fixture(scope="module")
def modules():
    return node.require("onnxruntime-web", "@huggingface/tokenizers")


@pytest.fixture(scope="module")
def colours(class_folders, modules, tmp_path_factory):
    """The page of a perceptron that has learned colours, and is sensitive to them."""
    folder = tmp_path_factory.mktemp("page")
    recipe = Recipe(
        name="mlp-colours",
        data=Data(path=str(class_folders)),
        backbone=Mlp(hidden=(16,), image_size=8),
        train=Train(epochs=4, batch_size=8),
    )
    finetune(recipe, folder / "run")
    return with_page(folder, modules)


def with_page(folder, modules):
    made = export(folder / "run", folder / "export").folder
    page.write(made, modules)
    return made


def apart(folder, rows):
    """The largest difference between what the page and the exported file say."""
    exported = open_export(folder)
    found = answers_in_browser(folder, rows, exported.about)
    assert [one.get("error") for one in found] == [None] * len(rows)
    scores = np.array([one["scores"] for one in found])
    return np.abs(scores - exported.answer(rows).scores.reshape(scores.shape)).max()


def test_images_of_all_kinds_are_answered_as_by_the_file(colours, tmp_path):
    draw = np.random.default_rng(0)
    levels = draw.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    smooth = image.resize((400, 300))
    turned, alpha = Image.Exif(), image.convert("RGBA")
    turned[0x0112] = 6
    alpha.putalpha(Image.fromarray(draw.integers(0, 256, (60, 90), dtype=np.uint8)))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
    for name, one, how in (
        ("profile.jpg", smooth, {"icc_profile": swapped}),
        ("profile.png", smooth, {"icc_profile": swapped}),
        ("plain.png", image, {}),
        ("alpha.png", alpha, {}),
        ("grey.png", image.convert("L"), {}),
        ("palette.png", image.convert("P"), {}),
        ("turned.jpg", smooth, {"exif": turned}),
        ("cmyk.jpg", smooth.convert("CMYK"), {}),
        ("lossy.webp", smooth, {}),
    ):
        one.save(tmp_path / name, **how)
    assert apart(colours, sorted(map(str, tmp_path.iterdir()))) < CLOSE


def test_a_file_that_is_no_image_gets_a_sentence_and_the_next_one_an_answer(colours, tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b.png")
    rows = [str(tmp_path / "a.txt"), str(tmp_path / "b.png")]
    first, second = answers_in_browser(colours, rows, open_export(colours).about)
    assert first["error"].startswith("Your browser cannot read this file as an image")
    assert len(second["scores"]) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_can_use_it_on_a_narrow_screen_and_by_ear(colours, scheme, tmp_path, monkeypatch):
    script = axe()
    if script is None:
        pytest.skip("needs axe-core: npm install -g axe-core, or FTKIT_AXE=FILE")
    folder = shutil.copytree(colours, tmp_path / "page")
    shutil.copyfile(script, folder / "axe.min.js")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b.png")
    driver = (browser.WEB / "check.js").read_text()
    (tmp_path / "check.js").write_text(driver.replace("return { answers };", AUDIT))
    monkeypatch.setattr(browser, "WEB", tmp_path)
    usual = browser.command
    light = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    monkeypatch.setattr(browser, "command", lambda *given: [*usual(*given), light])
    rows = [str(tmp_path / "b.png")]
    _, said = answers_in_browser(folder, rows, open_export(colours).about)
    assert said["violations"] == []
    assert said["passes"] > 15
    assert said["paper"] == PAPER[scheme]
    assert said["width"] <= 390
    assert said["wide"] <= 0
    assert said["said"].startswith("Answer: red, ")


def test_rows_of_a_table_with_words_and_gaps(modules, tmp_path):
    draw = np.random.default_rng(0)
    lines = ["size,colour,kind"]
    for n in range(80):
        size, colour = draw.normal(), draw.choice(["red", "blue"])
        gap = "" if n % 9 == 0 else f"{size:.4f}"
        lines.append(f"{gap},{colour},{'big' if size > 0 else 'small'}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    recipe = Recipe(
        name="mlp-table",
        data=Data(path=str(tmp_path / "rows.csv")),
        backbone=Mlp(hidden=(8,)),
        task=TabularClassification(label="kind"),
        train=Train(epochs=2, batch_size=8),
    )
    finetune(recipe, tmp_path / "run")
    folder = with_page(tmp_path, modules)
    rows = [
        {"size": 0.25, "colour": "red"},
        {"size": None, "colour": "blue"},
        {"size": -1e-7, "colour": "green"},
        {"size": 3, "colour": None},
    ]
    assert apart(folder, rows) < CLOSE
    about = open_export(folder).about
    (wrong,) = answers_in_browser(folder, [{"size": "tall", "colour": "red"}], about)
    assert wrong["error"] == 'size: "tall" is not a number'


def test_texts_as_ngrams_are_counted_as_by_the_file(modules, tmp_path):
    words = ["Ärger", "apple", "iron", "x", "naïve", "汉字", "🙂🙂", "gold"]
    draw = np.random.default_rng(0)
    lines = []
    for _ in range(60):
        text = " ".join(draw.choice(words, 4))
        lines.append(json.dumps({"text": text, "label": "yes" if "apple" in text else "no"}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    recipe = Recipe(
        name="mlp-texts",
        data=Data(path=str(tmp_path / "rows.jsonl")),
        backbone=Mlp(hidden=(8,)),
        task=TextClassification(label="label"),
        train=Train(epochs=2, batch_size=8),
    )
    finetune(recipe, tmp_path / "run")
    folder = with_page(tmp_path, modules)
    assert open_export(folder).about.reads == "ngrams"
    rows = [
        "apple iron",
        "",
        "  two   spaces\tand\u00a0more ",
        "Ärger 汉字 🙂🙂🙂",
        "x",
        "e\u0301t\u00e9",
    ]
    assert apart(folder, rows) < CLOSE


def test_a_page_needs_a_file_of_onnx(colours, modules, tmp_path):
    (tmp_path / "export.json").write_text('{"file": "model.xml"}')
    with pytest.raises(Exception, match=r"browsers run \.onnx"):
        page.write(tmp_path, modules)
    model = onnx.load(colours / "model.onnx")
    metadata = {one.key: one.value for one in model.metadata_props}
    assert About.from_json(metadata[KEY], "").recipe == "mlp-colours"
