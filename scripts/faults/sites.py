"""The places of ftkit's code that can be changed, a choice of them, and the changed text.

A change replaces one piece of the text of a file: a comparison, an operator, a constant, a
condition, what a function returns, a statement, a keyword argument, or a bound of a slice. Texts,
annotations, decorators, imports, assertions and what is logged stay as they are, since no test has
to notice their change.
"""

from __future__ import annotations

import ast
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

SWAPS: dict[type, tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: ("+", "-"), ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
}  # fmt: skip
SPOKEN = {"log", "logger", "logging", "warnings"}
"""What is called on these only tells something."""
NO_FAULT = {"encoding", "strict", "flush", "help", "description", "stacklevel", "from"}
"""Keyword arguments without which nothing differs on most machines, or only words do."""


@dataclass(frozen=True)
class Fault:
    """One change of one line."""

    file: str
    """From the root of the tree: ftkit/data/images.py."""
    line: int
    text: str
    """Of the line, without its indentation: by it the line is found again in another tree."""
    operator: str
    before: str
    after: str
    turn: int
    """How many changes of the same kind stand before it in the same line."""

    def __str__(self) -> str:
        was, now = (" ".join(part.split()) for part in (self.before, self.after))
        return f"{self.file}:{self.line}: {self.operator}: {was!r} -> {now!r}"

    def as_json(self) -> dict[str, Any]:
        """Return it as a line of a list that `--list` reads."""
        return asdict(self)


@dataclass(frozen=True)
class Site:
    """A fault, and from where to where of the text of its file it reaches."""

    fault: Fault
    begin: int
    end: int
    lines: range | None
    """The lines that run with it: its own in a function, a function's for a default of it, and all
    of the file where it runs when the file is imported."""


class _Finder(ast.NodeVisitor):
    """Collects the sites of one file."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text, self.lines = file, text, text.splitlines(keepends=True)
        self.starts = [0, *accumulate(len(line) for line in self.lines)]
        self.sites: list[Site] = []
        self.function: range | None = None
        """The lines of the body of a function, while its defaults are looked at."""
        self.inside = False
        self.turns: dict[tuple[int, str, str, str], int] = defaultdict(int)

    def place(self, line: int, column: int) -> int:
        """Return the place in the text of a line and its column in bytes."""
        start = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(start)

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return from where to where a node reaches."""
        at: Any = node
        return (
            self.place(at.lineno, at.col_offset),
            self.place(at.end_lineno, at.end_col_offset),
        )

    def add(self, operator: str, begin: int, end: int, after: str) -> None:
        """Note that this piece of the text may become `after`."""
        before = self.text[begin:end]
        line = bisect_right(self.starts, begin)
        key = (line, operator, before, after)
        text = self.lines[line - 1].strip()
        fault = Fault(self.file, line, text, operator, before, after, self.turns[key])
        self.turns[key] += 1
        lines = range(line, line + 1) if self.inside else self.function
        self.sites.append(Site(fault, begin, end, lines))

    def between(self, left: ast.AST, right: ast.AST, kind: ast.AST, operator: str) -> None:
        """Note the swap of an operator that stands between two nodes."""
        before, after = SWAPS.get(type(kind), ("", ""))
        begin, end = self.span(left)[1], self.span(right)[0]
        found = self.text.find(before, begin, end) if before else -1
        if found >= 0 and "#" not in self.text[begin:end]:
            self.add(operator, found, found + len(before), after)

    def negate(self, test: ast.AST) -> None:
        """Note that a condition may be turned round."""
        begin, end = self.span(test)
        if not isinstance(test, (ast.Compare, ast.UnaryOp)):  # those have a swap of their own
            self.add("condition", begin, end, f"(not ({self.text[begin:end]}))")

    def visit_Compare(self, node: ast.Compare) -> None:
        """A comparison."""
        sides = [node.left, *node.comparators]
        for left, right, kind in zip(sides, sides[1:], node.ops, strict=False):
            self.between(left, right, kind, "comparison")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """A chain of and, or of or."""
        self.between(node.values[0], node.values[1], node.op, "boolean")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Arithmetic, but on texts."""
        texts = (ast.JoinedStr,)
        either = (node.left, node.right)
        if not any(isinstance(e, texts) or _is_text(e) for e in either):
            self.between(node.left, node.right, node.op, "arithmetic")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """A negation that is left out."""
        if isinstance(node.op, ast.Not):
            begin, end = self.span(node)
            self.add("condition", begin, end, f"bool({self.text[slice(*self.span(node.operand))]})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """An integer that is one off, a real number twice as large, the opposite truth."""
        if isinstance(node.value, bool):
            self.add("constant", *self.span(node), str(not node.value))
        elif isinstance(node.value, int):
            self.add("constant", *self.span(node), repr(node.value + 1))
        elif isinstance(node.value, float):
            self.add("constant", *self.span(node), repr(2 * node.value or 1.0))

    def visit_If(self, node: ast.If) -> None:
        """A branch."""
        if "TYPE_CHECKING" not in ast.dump(node.test):
            self.negate(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """A loop: turned round, it is not entered; what never ends is no fault to seek."""
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """A choice between two values."""
        self.negate(node.test)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        """What a function returns."""
        constant = isinstance(node.value, ast.Constant)
        if node.value is not None and not constant:
            self.add("return", *self.span(node.value), "None")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A statement that is left out; nothing where it is a docstring, or tells something."""
        if isinstance(node.value, ast.Constant) or _speaks(node.value):
            return
        if isinstance(node.value, ast.Call):
            self.add("statement", *self.span(node), "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """A change of a variable that is left out."""
        self.add("statement", *self.span(node), "pass")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """A refusal that is left out; its words stay."""
        self.add("statement", *self.span(node), "pass")

    def visit_Call(self, node: ast.Call) -> None:
        """A keyword argument that is left out."""
        if _speaks(node):
            return
        for keyword in node.keywords:
            if keyword.arg and keyword.arg not in NO_FAULT and not _is_text(keyword.value):
                begin, end = self.span(keyword)
                following = self.text[end : end + 2]
                end += len(following) if following == ", " else following.startswith(",")
                self.add("keyword", begin, end, "")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        """A bound that is one off; a bound that is a number changes as a constant does."""
        for bound in (node.lower, node.upper):
            if bound is not None and not isinstance(bound, (ast.Constant, ast.UnaryOp)):
                begin, end = self.span(bound)
                self.add("slice", begin, end, f"({self.text[begin:end]}) - 1")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Only the value: an annotation says nothing to the machine."""
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Defaults and body, not decorators and annotations."""
        before = self.function, self.inside
        if not self.inside:
            self.function = range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        self.inside = True
        for statement in node.body:
            self.visit(statement)
        self.function, self.inside = before

    def visit_Assert(self, node: ast.Assert) -> None:
        """Nothing: it states what is so anyway."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Nothing: words."""


def _is_text(node: ast.AST) -> bool:
    text = isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    return text or isinstance(node, ast.JoinedStr)


def _speaks(node: ast.AST) -> bool:
    """Return whether this is a call of a logger, or of print."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        return isinstance(called.value, ast.Name) and called.value.id in SPOKEN
    return isinstance(called, ast.Name) and called.id in {"print", "say"}


def sites(tree: Path, file: str) -> list[Site]:
    """Return all places of a file that can be changed, from its head down."""
    text = (tree / file).read_text(encoding="utf-8")
    finder = _Finder(file, text)
    finder.visit(ast.parse(text))
    return sorted(finder.sites, key=lambda site: (site.begin, site.end, site.fault.operator))


def files(tree: Path) -> list[str]:
    """Return the files of the product."""
    return [path.relative_to(tree).as_posix() for path in sorted((tree / "ftkit").rglob("*.py"))]


def choose(tree: Path, count: int, seed: int) -> list[Fault]:
    """Return so many faults: of each package a share by its lines, and at least one."""
    lines: dict[str, dict[tuple[str, int], list[Site]]] = defaultdict(lambda: defaultdict(list))
    for file in files(tree):
        for site in sites(tree, file):
            lines[file.split("/")[1]][file, site.fault.line].append(site)
    draw, total = random.Random(seed), sum(len(there) for there in lines.values())
    chosen: list[Fault] = []
    for there in lines.values():
        share = min(len(there), max(1, round(count * len(there) / total)))
        chosen += [draw.choice(there[line]).fault for line in draw.sample(sorted(there), share)]
    draw.shuffle(chosen)  # a run that is stopped has tried some of each package
    return chosen


def find_again(tree: Path, fault: Fault) -> Site | None:
    """Return where this fault is in another tree, by the text of its line, or None."""
    here = [fault.file] if (tree / fault.file).is_file() else []
    for searched in (here, files(tree)):
        found = [site for file in searched for site in sites(tree, file) if _same(site, fault)]
        if found:
            return min(found, key=lambda site: abs(site.fault.line - fault.line))
    return None


def _same(site: Site, fault: Fault) -> bool:
    there = site.fault
    return replace(there, file=fault.file, line=fault.line) == fault


def changed(tree: Path, site: Site) -> str:
    """Return the text of the file with the fault in it."""
    text = (tree / site.fault.file).read_text(encoding="utf-8")
    return text[: site.begin] + site.fault.after + text[site.end :]


def read(lines: list[dict[str, Any]]) -> Iterator[Fault]:
    """Yield the faults of a list."""
    return (Fault(**line) for line in lines)
