"""Chromium without a window: what axe-core and the console say of a page."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
AUDIT = """
<script>{axe}</script><script>
axe.run().then(found => {{
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  const said = {{passes: found.passes.length, wide, width: window.innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    violations: found.violations.map(v => v.id + ": " + v.nodes[0].html)}};
  top.document.body.innerHTML = "<pre id=audit>" + btoa(JSON.stringify(said)) + "</pre>";
}});
</script></body>"""
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe>"""
"""A window is never narrower than 500 pixels; a frame is."""
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}


def axe():
    """The file of axe-core, where npm has it."""
    places = [os.environ.get("FTKIT_AXE"), "node_modules/axe-core/axe.min.js"]
    npm = shutil.which("npm")
    if npm:
        root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True).stdout.strip()
        places.append(f"{root}/axe-core/axe.min.js")
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def assert_fit(page, folder, scheme, width):
    """The page has nothing that axe-core or the console complain of, and is not wider than that."""
    script = axe()
    if CHROMIUM is None or script is None:
        pytest.skip("needs Chromium, and axe-core: npm install -g axe-core, or FTKIT_AXE=FILE")
    file = folder / "page.html"
    audit = AUDIT.format(axe=script.read_text(encoding="utf-8"))
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)  # for the audit
    framed = html.escape(page.replace("</body>", audit))
    file.write_text(FRAME.format(width=width, page=framed), encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width + 50, 500)},950",
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            "--virtual-time-budget=60000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )  # fmt: skip
    found = re.search(r'<pre id="audit">([^<]*)', done.stdout)
    assert found, done.stderr[-2000:]
    said = json.loads(base64.b64decode(found[1]))
    assert said["violations"] == []
    assert said["passes"] > 20
    assert (said["width"], said["paper"]) == (width, PAPER[scheme])
    assert said["wide"] <= 0
    assert "CONSOLE" not in done.stderr
