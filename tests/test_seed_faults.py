"""Seeded faults change code, one piece of a line each, and are found again in another tree."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from faults.sites import Fault, changed, choose, find_again, sites

CODE = '''"""Docstring with 1 < 2."""
from __future__ import annotations
import logging

log = logging.getLogger(__name__)
SIZE: int = 3

@decorated(4)
def first(rows: list[int], most: int = 5) -> list[int] | None:
    """Not 6."""
    assert len(rows) < 7
    if not rows and most == 0:
        raise ValueError(f"{most + 8} rows")
    log.info("%d rows", most + 9)
    rows.sort(key=abs, reverse=True)
    most -= len(rows)
    return rows[:most]
'''


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree/ftkit/data").mkdir(parents=True)
    (tmp_path / "tree/ftkit/data/rows.py").write_text(CODE)
    return tmp_path / "tree"


def test_what_runs_is_changed_and_what_is_said_is_not(tree):
    found = {(s.fault.operator, s.fault.before, s.fault.after) for s in sites(tree, FILE)}
    assert found == {
        ("constant", "3", "4"),
        ("constant", "5", "6"),
        ("condition", "not rows and most == 0", "(not (not rows and most == 0))"),
        ("condition", "not rows", "bool(rows)"),
        ("boolean", "and", "or"),
        ("comparison", "==", "!="),
        ("constant", "0", "1"),
        ("statement", 'raise ValueError(f"{most + 8} rows")', "pass"),
        ("statement", "rows.sort(key=abs, reverse=True)", "pass"),
        ("keyword", "key=abs, ", ""),
        ("keyword", "reverse=True", ""),
        ("constant", "True", "False"),
        ("statement", "most -= len(rows)", "pass"),
        ("return", "rows[:most]", "None"),
        ("slice", "most", "(most) - 1"),
    }


FILE = "ftkit/data/rows.py"


def test_a_fault_is_tried_with_the_lines_that_run_it(tree):
    lines = {s.fault.before: s.lines for s in sites(tree, FILE)}
    assert lines["3"] is None
    assert lines["5"] == range(10, 18)
    assert lines["rows[:most]"] == range(17, 18)


def test_a_changed_file_differs_in_that_piece_and_is_python(tree):
    for site in sites(tree, FILE):
        text = changed(tree, site)
        ast.parse(text)
        assert text != CODE
        assert text.count("\n") == CODE.count("\n")
        assert text[: site.begin] == CODE[: site.begin]
        assert text.endswith(CODE[site.end :])


def test_the_same_seed_gives_the_same_faults_of_every_package(tree):
    (tree / "ftkit/hub").mkdir()
    (tree / "ftkit/hub/names.py").write_text("LONGEST = 96\n")
    chosen = choose(tree, 6, seed=0)
    assert chosen == choose(tree, 6, seed=0)
    assert chosen != choose(tree, 6, seed=1)
    assert {fault.file.split("/")[1] for fault in chosen} == {"data", "hub"}


def test_a_fault_is_found_again_by_its_line_where_it_has_moved(tree, tmp_path):
    other = tmp_path / "other"
    (other / "ftkit/tables").mkdir(parents=True)
    (other / "ftkit/tables/rows.py").write_text("# moved\n\n" + CODE)
    for site in sites(tree, FILE):
        again = find_again(other, site.fault)
        assert again is not None
        assert again.fault.file == "ftkit/tables/rows.py"
        assert again.fault.line == site.fault.line + 2
        assert again.begin == site.begin + len("# moved\n\n")


def test_a_fault_whose_line_is_gone_is_not_found(tree):
    gone = Fault(FILE, 3, "return rows[1:]", "constant", "1", "2", 0)
    assert find_again(tree, gone) is None
