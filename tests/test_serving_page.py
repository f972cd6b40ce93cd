"""The page for people, in Chromium: it asks, shows, is read aloud, and reaches nobody else."""

import base64
import io
import json
import re
import subprocess

import numpy as np
import pytest
from browser import CHROMIUM, PAPER, axe
from conftest import make_image
from serving import made_up, served

from ftkit.exported.about import Column
from ftkit.serving import app
from ftkit.serving.pages import Page, page

TOKEN = "a-long-secret-of-the-tests"
OUTSIDE = '<img alt="" src="http://outside.example/pixel.png">'
DRIVER = """
<script id="axe">{axe}</script>
<script>
const wait = async holds => {{
  for (let n = 0; n < 400 && !holds(); n++) await new Promise(done => setTimeout(done, 25));
}};
const found = {{asked: []}};
addEventListener("load", async () => {{
  await wait(() => about || byId("error").textContent || !byId("key").hidden);
  try {{ {steps} }} catch (error) {{ found.failed = String(error); }}
  const said = await axe.run();
  Object.assign(found, {{
    error: byId("error").textContent, said: byId("said").textContent,
    what: byId("what").textContent,
    told: [...document.querySelectorAll("tr.told th")].map(cell => cell.textContent),
    rows: document.querySelectorAll("#answer tr").length, answer: byId("answer").innerText,
    wide: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
    paper: getComputedStyle(document.body).backgroundColor, passes: said.passes.length,
    violations: said.violations.map(one => one.id + ": " + one.nodes[0].html),
    asked: performance.getEntriesByType("resource").map(one => one.name),
    unreached: [...document.querySelectorAll("input,textarea,select,button")].filter(
      one => one.tabIndex < 0 || !(one.labels?.length || one.textContent)).length,
  }});
  const bytes = new TextEncoder().encode(JSON.stringify(found));
  top.document.body.innerHTML = "<pre id=audit>" + btoa(String.fromCharCode(...bytes)) + "</pre>";
}});
</script></body>"""
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<iframe width="{width}" height="900" style="border:0" src="./"></iframe>"""
TYPED = """byId("text").value = "a dog"; byId("go").click();
  await wait(() => !byId("result").hidden);"""


@pytest.fixture
def looked_at(monkeypatch, tmp_path):
    """A function that shows the page of a model in a frame, takes steps in it, and tells what was.

    The page allows no script of others, so the steps are taken in a page that allows all.
    """
    script = axe()
    if CHROMIUM is None or script is None:
        pytest.skip("needs Chromium, and axe-core: npm install -g axe-core, or FTKIT_AXE=FILE")

    def look(model, steps="", width=390, scheme="light", token=None, more=""):
        driver = DRIVER.format(axe=script.read_text(encoding="utf-8"), steps=steps)
        shown = page().html.replace("</body>", more + driver)
        monkeypatch.setattr(app.pages, "page", lambda: Page(shown, {}))
        monkeypatch.setattr(app.pages, "description", lambda _: Page(FRAME.format(width=width), {}))
        with served(model, token=token) as url:
            said = opened(f"{url}docs", tmp_path, scheme, width)
        found = re.search(r'<pre id="audit">([^<]*)', said.stdout)
        assert found, said.stderr[-2000:]
        values = json.loads(base64.b64decode(found[1]))
        assert "failed" not in values, values["failed"]
        return {**values, "console": said.stderr, "url": url}

    return look


def opened(address, folder, scheme="light", width=390, flags=("--dump-dom",)):
    """Open an address in Chromium, for which no name but this machine's leads anywhere."""
    return subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width + 50, 500)},950",
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            "--virtual-time-budget=60000", *flags, address,
        ],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


def texts(**about):
    return made_up(lambda text: [1.0, 3.0, 0.0], **about)


def assert_fit(found, width=390, scheme="light"):
    """Nothing that axe-core or the console complain of; no outside request; not too wide."""
    assert found["violations"] == []
    assert found["passes"] > 15
    assert (found["width"], found["paper"], found["wide"] <= 0) == (width, PAPER[scheme], True)
    assert found["unreached"] == 0
    assert [name for name in found["asked"] if not name.startswith((found["url"], "data:"))] == []
    assert "CONSOLE" not in found["console"], found["console"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_text_is_answered_with_a_bar_for_each_class(looked_at, scheme, width):
    found = looked_at(texts(), TYPED, width, scheme)
    assert_fit(found, width, scheme)
    assert found["what"] == "It reads a text and tells one of 3 classes."
    assert (found["told"], found["rows"]) == (["dog"], 3)
    assert "Most probable: dog, 84.4 %" in found["said"]


def test_an_image_that_is_dropped_is_answered(looked_at):
    file = io.BytesIO()
    make_image("red", 1).save(file, "PNG")
    steps = f"""
      const text = atob("{base64.b64encode(file.getvalue()).decode()}");
      const image = Uint8Array.from(text, letter => letter.charCodeAt(0));
      const drag = new DataTransfer();
      drag.items.add(new File([image], "red.png", {{type: "image/png"}}));
      const dropped = new DragEvent("drop", {{dataTransfer: drag, cancelable: true}});
      document.querySelector(".drop").dispatchEvent(dropped);
      await wait(() => !byId("result").hidden && byId("shown").naturalWidth);
      found.alt = byId("shown").alt;"""
    names = [f"kind-{number}" for number in range(12)]
    found = looked_at(made_up(lambda image: list(range(12)), classes=names, reads="images"), steps)
    found["asked"] = [name for name in found["asked"] if not name.startswith("blob:")]
    assert_fit(found)
    assert (found["told"], found["rows"]) == (["kind-11"], 10)
    assert "Show all 12" in found["answer"]
    assert found["alt"] == "The image that is asked about: red.png"


def test_a_table_has_a_field_for_each_column(looked_at):
    columns = (Column("age"), Column("kind", ("old", "new")))
    steps = """byId("cell0").value = "7"; byId("cell1").value = "new"; byId("go").click();
      await wait(() => !byId("result").hidden);"""
    model = made_up(
        lambda row: [float(row["age"] == "7"), 3.0 * (row["kind"] == "new"), 0.5],
        reads="table", columns=columns,
    )  # fmt: skip
    found = looked_at(model, steps)
    assert_fit(found)
    assert found["told"] == ["dog"]


def test_a_number_is_shown_as_one(looked_at):
    steps = TYPED.replace('byId("go")', 'byId("pair").value = "b"; byId("go")')
    found = looked_at(made_up(lambda pair: [41.5], "number", (), pair=True), steps)
    assert_fit(found)
    assert found["answer"].strip() == "41.5"


def test_names_in_a_text_are_marked(looked_at):
    from ftkit.exported.model import Answers, Exported

    class Words(Exported):
        def answer(self, rows):
            found = [np.array([[0.1, 0.9] if w == "Ada" else [0.9, 0.1] for w in r]) for r in rows]
            return Answers(found, found)

    plain = made_up(None, "words", ("O", "B-PER"), "words")
    model = Words(plain.file, plain.about, plain.engine, plain.read)
    steps = TYPED.replace("a dog", "😀 Ada sings")
    steps += 'found.mark = document.querySelector("mark").textContent;'
    found = looked_at(model, steps)
    assert_fit(found)
    assert found["mark"] == "AdaPER"


def test_a_refusal_is_shown_as_its_line(looked_at):
    steps = """byId("text").value = "x".repeat(9000); byId("go").click();
      await wait(() => byId("error").textContent);"""
    found = looked_at(texts(), steps)
    assert "--max-tokens" in found["error"]
    assert found["violations"] == []


def test_a_token_is_asked_for_and_used(looked_at):
    steps = f"""found.before = byId("what").textContent; found.hidden = byId("ask").hidden;
      byId("token").value = "{TOKEN}"; byId("key").requestSubmit();
      await wait(() => about); {TYPED}"""
    found = looked_at(texts(), steps, token=TOKEN)
    assert (found["before"], found["hidden"]) == ("A token is needed.", True)
    assert found["told"] == ["dog"]
    assert found["violations"] == []


def test_a_request_to_others_would_be_seen(looked_at):
    found = looked_at(texts(), more=OUTSIDE)
    with pytest.raises(AssertionError):
        assert_fit(found)


def test_the_page_works_under_its_own_rules(tmp_path):
    """With the headers that it is sent with, and none of the tests' scripts."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with served(texts()) as url:
        said = opened(url, tmp_path)
        docs = opened(f"{url}docs", tmp_path)
    assert "It reads a text and tells one of 3 classes." in said.stdout
    assert "POST /" in docs.stdout
    for each in (said, docs):
        assert "CONSOLE" not in each.stderr, each.stderr
