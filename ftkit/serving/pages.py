"""What people see in a browser: the page that asks the model, and what describes the service."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ftkit.exported.about import About
from ftkit.serving.limits import Limits

INLINE = {
    "script-src": re.compile(r"<script>(.*?)</script>", re.S),
    "style-src": re.compile(r"<style>(.*?)</style>", re.S),
}
CURL = """curl {url} --data-binary @photo.jpg -H 'Content-Type: image/jpeg'
curl {url} -H 'Content-Type: application/json' -d '{{"inputs": "a text"}}'
curl {url} -H 'Content-Type: application/json' -d '{{"table": {{"age": [31], "weight": [70]}}}}'"""
DESCRIPTION = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
{style}
</head>
<body>
<main>
<h1>{title}</h1>
<p class="soft">For programs: <a href="openapi.json">openapi.json</a> says the same.
<a href="./">Back to the page for people</a>.</p>
{body}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Page:
    """A page, and the headers that keep it from asking or running anything else."""

    html: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> Page:
        """Return a page that may run what stands in it, and nothing else."""
        rules = ["default-src 'none'", "connect-src 'self'", "img-src blob: data:"]
        rules += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
        for rule, inline in INLINE.items():
            if sums := [_checksum(part) for part in inline.findall(text)]:
                rules.append(f"{rule} {' '.join(sums)}")
        headers = {
            "Content-Security-Policy": "; ".join(rules),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return cls(text, headers)


def _checksum(part: str) -> str:
    digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def page() -> Page:
    """Return the page on which people ask the model."""
    return Page.of(files("ftkit.serving").joinpath("page.html").read_text(encoding="utf-8"))


def info(about: About, limits: Limits) -> dict[str, Any]:
    """Return what the page has to know of the model."""
    return {
        "task": about.task,
        "reads": about.reads,
        "tells": about.tells,
        "classes": list(about.classes),
        "threshold": about.threshold,
        "pair": about.pair,
        "columns": [{"name": one.name, "words": list(one.words)} for one in about.columns],
        "limits": asdict(limits),
    }


def description(described: Mapping[str, Any]) -> Page:
    """Return the description of the service for people.

    Args:
        described: the same as OpenAPI has it.
    """
    parts = []
    for path, methods in described["paths"].items():
        for method, one in methods.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            token = " It needs the token." if one.get("security") else ""
            parts.append(f"<p>{html.escape(one['summary'])}.{token}</p>")
            if method == "post":
                parts.append(_asking(one))
    title = html.escape(described["info"]["title"])
    style = INLINE["style-src"].search(page().html)
    assert style is not None
    return Page.of(DESCRIPTION.format(title=title, style=style[0], body="\n".join(parts)))


def _asking(one: Mapping[str, Any]) -> str:
    """Return how the model is asked, and each status with its meaning."""
    kinds = one["requestBody"]["content"]
    line = 0 if "image/*" in kinds else 2 if "table" in str(kinds) else 1
    command = html.escape(CURL.format(url="http://127.0.0.1:8000/").splitlines()[line])
    rows = "\n".join(
        f'<tr><th scope="row">{status}</th><td>{html.escape(answer["description"])}</td></tr>'
        for status, answer in one["responses"].items()
    )
    return (
        f"<p><code>{command}</code></p>\n<p>Or, from Python, with "
        f"<code>huggingface_hub.InferenceClient(model=URL)</code>.</p>\n"
        f"<table><caption>Each answer that is no 200 is one line: "
        f"<code>{{&quot;error&quot;: &quot;...&quot;}}</code></caption>\n"
        f"<tbody>\n{rows}\n</tbody></table>"
    )
