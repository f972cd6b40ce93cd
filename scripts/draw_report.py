"""Draw the top of a comparison's report into docs/report.png, for README.

python scripts/draw_report.py runs/compare-effnet-digits/report.html [--out docs/report.png]

It shows the title, the sentence and the table; notes between them are left out. It needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

WIDTH, HEIGHT, SCALE = 1060, 900, 2
"""Of the window, in pixels of the page; the picture has twice as many."""
LEFT_OUT = "<style>main>p.soft~p.soft,main>h2,main>.wide~*{display:none!important}</style>"


def main() -> None:
    """Take the picture, and cut the empty margin off."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    given = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if chromium is None:
        raise SystemExit("Chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        html = given.report.read_text(encoding="utf-8")
        page.write_text(html.replace("</head>", f"{LEFT_OUT}</head>", 1), encoding="utf-8")
        taken = Path(folder, "taken.png")
        words = [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}",
            f"--force-device-scale-factor={SCALE}", "--blink-settings=preferredColorScheme=1",
            f"--screenshot={taken}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        picture = Image.open(taken).convert("RGB")
        picture = picture.crop((0, 0, picture.width, (HEIGHT - 150) * SCALE))
    paper = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(picture, paper).getbbox()  # type: ignore[misc]
    margin = 12 * SCALE
    box = (max(left - margin, 0), max(top - margin, 0), right + margin, bottom + margin)
    picture.crop(box).quantize(64).save(given.out, optimize=True)


if __name__ == "__main__":
    main()
