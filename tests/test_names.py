"""Names that strangers chose: shown as they are, and nothing that they say is done."""

import csv
import io
import logging
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from rich.console import Console
from test_compare_evidence import a_run, of_classes
from transformers import AutoConfig, AutoModelForImageClassification

from ftkit import ImageClassification, registry
from ftkit.backbones.pretrained import load_model
from ftkit.cli.predict import _print_table
from ftkit.compare.report import write
from ftkit.compare.summary import summarize
from ftkit.compare.tables import table
from ftkit.errors import DataError
from ftkit.errors.names import as_code, in_markdown, visible
from ftkit.machine.terminal import speak
from ftkit.prediction.answers import Predictions
from ftkit.publishing.card_metadata import metadata
from ftkit.runs.pinning import Licences
from ftkit.runs.plots import drawable, plot_confusion, plot_precision_recall
from ftkit.tasks import task_of
from ftkit.tasks.wording import listed

IMAGES = task_of(ImageClassification())

NAMES = (
    "<script>document.title='owned'</script>",
    "<img src=http://127.0.0.1:9/x onerror=\"document.title='owned'\">",
    "</td></table></svg><style>*{display:none}</style>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "![x](http://127.0.0.1:9/x)",
    "&lt;b&gt;",
    "{{ 7 * 7 }}",
    "[red]",
    "[/]",
    ":smile:",
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "line\nbreak",
    "yes",
    "null",
    "~",
    "- x",
    "---",
    "a: b",
    "# a",
    "> a",
    "`co`|`de`",
    "_a_ *b* ~~c~~ a_b",
    r"$\alpha$ $x",
    r"back\slash\$",
    "=1+1",
    "%s%d",
    'it\'s "q"',
    "日本🎉",
    "x" * 300,
)


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_as_it_is(name):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for text, tags in (
        (f"{in_markdown(name)}\n", {"p"}),
        (f"classes: {in_markdown(name)}.\n", {"p"}),
        (f"| a | b |\n|---|---|\n| 1 | {in_markdown(name)} |\n", None),
        (f"from {as_code(name)} on\n", {"p", "code"} if "|" not in name else {"p"}),
    ):
        page = Page(reader.render(text))
        assert visible(name).strip() in "".join(page.texts)
        assert page.tags == tags if tags else not page.tags & {"a", "img", "script", "em", "code"}


def test_names_that_make_a_tag_together_are_texts():
    shown = listed(('a<img src=x onerror="1', 'alert(1)">'))
    assert "img" not in Page(MarkdownIt("commonmark").render(shown)).tags


def test_the_head_of_a_card_says_the_names_of_data_back(tmp_path):
    recipe = registry.find("mlp-text")
    for name in filter(str.strip, NAMES):
        named = recipe.override({"data.path": name, "data.config": name})
        head = yaml.safe_load(metadata(named, {"accuracy": 0.5}, name, Licences()).to_yaml())
        said = head["model-index"][0]["results"][0]["dataset"]
        assert said["name"] == name
        assert said["config"] == name


def test_a_report_holds_no_tag_address_or_script_of_a_name(tmp_path):
    classes = list(NAMES)
    rows = len(classes) * 4
    truth = [classes[row % len(classes)] for row in range(rows)]
    tables = []
    for right in (0.5, 0.75):
        told = [
            name if row < right * rows else classes[(row + 1) % len(classes)]
            for row, name in enumerate(truth)
        ]
        share = np.full(len(classes), 0.1 / (len(classes) - 1))
        each = [np.where(np.array(classes) == name, 0.9, share).tolist() for name in told]
        tables.append(
            {"index": np.arange(rows), "label": truth, "prediction": told, "probability": each}
        )
    runs = [
        a_run(tmp_path, label, one, names=classes, dataset=NAMES[0])
        for label, one in zip(("[red] <b>", "full"), tables, strict=True)
    ]
    html, markdown = (file.read_text() for file in write(summarize(runs), tmp_path / "out"))
    page = Page(html)
    assert not page.tags & {"script", "img", "a", "iframe", "object", "form", "base", "b"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "srcdoc"]
    links = [value for name, value in page.attributes if name in ("href", "src")]
    assert all(value.startswith("data:") for value in links)
    (policy,) = [value for _, value in page.attributes if str(value).startswith("default-src")]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert html.count("<style>") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", html + markdown)
    said = "".join(page.texts)
    for name in NAMES[:-1]:
        assert visible(name) in said
    tags = Page(MarkdownIt("commonmark").enable("table").render(markdown)).tags
    assert not tags & {"script", "a", "style", "b"}
    for file in (tmp_path / "out" / "report").iterdir():
        assert re.fullmatch(r"[A-Za-z0-9.-]+\.svg", file.name)


@pytest.mark.filterwarnings("error")
def test_pictures_draw_what_their_font_has_and_numbers_for_the_rest(tmp_path):
    counts = np.eye(len(NAMES), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(counts, NAMES, tmp_path / "confusion.png", "title")
        one = np.ones(len(NAMES), dtype=int)
        plot_precision_recall(one, one, one, NAMES, tmp_path / "precision.png", "title")
    strange = drawable(["\x1b[31mred", "\u202egnp.exe", "日本🎉", " "], range(4))
    assert strange == [r"\x1b[31mred", r"\u202egnp.exe", "class 2", "class 3"]


def test_a_model_says_its_classes_back(checkpoint, tmp_path, tiny_recipe):
    model, _ = load_model(tiny_recipe.backbone, NAMES, 0, task=IMAGES)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert tuple(config.id2label[number] for number in range(len(NAMES))) == NAMES
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert tuple(again.config.id2label.values()) == NAMES
    assert again.config.label2id == {name: number for number, name in enumerate(NAMES)}


def test_a_message_and_a_line_of_the_log_hold_nothing_hidden(capsys):
    speak(quieten=False)
    log = logging.getLogger("ftkit.test")
    for name in NAMES:
        log.info("class %s", name)
        assert str(DataError(f"class {name}")) == f"class {visible(name)}"
    said = capsys.readouterr().err
    assert said.count("\n") == len(NAMES)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)
    assert "class [red]\n" in said
    assert r"\x1b[31mred" in said
    assert r"\u202egnp.exe" in said


def test_what_joins_letters_is_no_hidden_character():
    for name in ("👩‍👩‍👧", "می‌خواهم", "cafe\u0301", "नमस्ते", "שלום"):
        assert visible(name) == name


def test_tables_on_the_screen_read_no_markup(tmp_path, capsys):
    run = a_run(tmp_path, "full", of_classes(np.ones(4, bool)), dataset="[/] [red].csv \x1b[2J")
    Console(markup=False, emoji=False, width=200).print(table([run.result]))
    _print_table({"index": [0], "[/]": ["[red] \x1b[2J :smile:"], "prediction": ["[/]"]}, 1)
    said = capsys.readouterr().out
    assert "[/] [red].csv" in said
    assert ":smile:" in said
    assert "\x1b[2J" not in said


def test_cells_that_a_spreadsheet_computes_are_counted_and_marked_where_asked():
    texts = ["=1+1", "+1", "-x", "@a", "\tb", "plain", "a=b", "-"]
    found = Predictions({"index": range(8), "text": texts, "prediction": [-1.5] * 8}, {})
    assert found.computed == 6
    assert [row["text"] for row in csv.DictReader(io.StringIO(found.to_csv()))] == texts
    marked = list(csv.DictReader(io.StringIO(found.to_csv(for_spreadsheets=True))))
    assert [row["text"] for row in marked] == [f"'{text}" for text in texts[:5]] + [
        "plain", "a=b", "'-",
    ]  # fmt: skip
    assert {row["prediction"] for row in marked} == {"-1.5"}
