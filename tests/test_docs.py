"""README and docs/ hold together: links and headings are there, named tests and files exist."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
REPORTS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)/(?:issues|pull)/(\d+)")


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)


def anchors(page):
    """The names of a page's headings, as GitHub and MkDocs make them."""
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.M):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower())
        yield words.strip().replace(" ", "-")


def links(page):
    """The targets of a page's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_the_checkout(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not heading or heading in set(anchors(target)), link


def test_the_index_names_every_page():
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page != index}
    assert pages - named == set()


def test_the_site_has_every_page_and_notebook():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w/-]+\.(?:md|ipynb)", str(config["nav"])))
    named -= {"LICENSE.md", "reference.md"}  # which scripts/docs.sh makes
    pages = {*PAGES, *(ROOT / "docs").rglob("*.ipynb")}
    assert named == {str(page.relative_to(ROOT)) for page in pages}


def test_every_file_of_the_code_that_a_page_names_is_there():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:ftkit|tests|scripts|recipes)/[\w/.-]+\.\w+)`", text):
            assert (ROOT / name).is_file(), (page.name, name)


def test_every_pitfall_has_a_report_and_a_test():
    page = ROOT / "docs" / "pitfalls.md"
    rows = re.findall(r"^\| (?!what|---)(.*) \|$", page.read_text(encoding="utf-8"), re.M)
    assert len(rows) >= 12
    for row in rows:
        what, report, _, tests = row.split(" | ")
        assert REPORTS.search(report), what
        named = re.findall(r"`(tests/\w+\.py)::(\w+)`", tests)
        assert named, what
        for file, name in named:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_no_page_but_the_reports_links_to_an_address_that_may_go():
    allowed = ("https://github.com/", "https://huggingface.co", "https://keepachangelog.com")
    for page in PAGES:
        for link in links(page):
            assert not link.startswith("http") or link.startswith(allowed), (page.name, link)
