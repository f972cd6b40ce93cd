"""The `parameters` of a request, as `InferenceClient` and transformers' pipelines name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftkit.exported.about import About
from ftkit.serving.limits import Refused

FUNCTIONS = ("softmax", "sigmoid", "none")
STRATEGIES = ("none", "simple", "first")
"""Of a word the model tells the class of its first token, so `average` and `max` cannot be told."""
OF_WORDS = ("aggregation_strategy", "ignore_labels")
OF_CLASSES = ("top_k", "function_to_apply")
FIRST_IMAGES = 5
"""Classes of an image that are told when nobody says how many, as by the pipeline."""


@dataclass(frozen=True)
class Options:
    """How rows are to be answered."""

    top_k: int | None = None
    """How many classes are told; those of the pipeline when not given."""
    function_to_apply: str | None = None
    """What makes scores of logits, one of `FUNCTIONS`; that of the task when not given."""
    aggregation_strategy: str = "simple"
    ignore_labels: tuple[str, ...] = ("O",)

    @classmethod
    def of(cls, about: About, given: Any) -> Options:
        """Return what the parameters of a request say.

        Raises:
            Refused: there is one that this model does not know, or its value is impossible.
        """
        if given is None:
            return cls()
        known = OF_WORDS if about.tells == "words" else OF_CLASSES
        if not isinstance(given, dict):
            raise Refused(400, f"'parameters' is no object; it may have {', '.join(known)}")
        given = {name: value for name, value in given.items() if value is not None}
        if unknown := [name for name in given if name not in known]:
            raise Refused(400, f"parameter '{unknown[0]}' is not known; {', '.join(known)} are")
        _require(given, "top_k", lambda k: type(k) is int and k > 0, "a whole number from 1")
        _require_one_of(given, "function_to_apply", (*FUNCTIONS, "default"))
        _require_one_of(given, "aggregation_strategy", STRATEGIES)
        if given.get("function_to_apply") == "default":
            del given["function_to_apply"]
        _require(given, "ignore_labels", _are_texts, "a list of names")
        if "ignore_labels" in given:
            given["ignore_labels"] = tuple(given["ignore_labels"])
        return cls(**given)

    @classmethod
    def of_query(cls, about: About, query: Mapping[str, str]) -> Options:
        """Return what the parameters in an address say: `/?top_k=3`; see `of`."""
        given = {
            name: int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value
            for name, value in query.items()
        }
        return cls.of(about, given)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _require_one_of(given: dict[str, Any], name: str, names: tuple[str, ...]) -> None:
    _require(given, name, lambda value: value in names, f"one of {', '.join(names)}")


def _require(given: dict[str, Any], name: str, holds: Any, what: str) -> None:
    if name in given and not holds(given[name]):
        raise Refused(400, f"parameter {name}: expected {what}, got {str(given[name])[:80]!r}")
