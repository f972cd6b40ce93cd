"""What a request asks: its body as rows for the model, in the shapes of `InferenceClient`."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from ftkit.errors import DataError
from ftkit.errors.names import first_few
from ftkit.exported.about import About
from ftkit.exported.inputs import cell
from ftkit.serving.limits import Limits, Refused
from ftkit.serving.options import Options

JSON = "application/json"
REFUSED_TYPES = ("multipart/", "audio/", "video/")


@dataclass(frozen=True)
class Asked:
    """The rows of a request, and how they are to be answered."""

    rows: tuple[Any, ...]
    """As `ftkit.exported` takes them: bytes of an image, a text, two texts, a row of a table."""
    options: Options
    many: bool = False
    """The request was a list."""


def asked_of(
    about: About, kind: str, body: bytes, limits: Limits, query: Mapping[str, str]
) -> Asked:
    """Return what a body asks.

    Args:
        kind: the content type.
        query: parameters in the address, which go with the bytes of an image.

    Raises:
        Refused: it is not what this model reads.
    """
    kind = kind.partition(";")[0].strip().lower()
    if kind.startswith(REFUSED_TYPES):
        raise Refused(415, f"{kind} is not read; {wanted(about)}")
    if not body:
        raise Refused(400, f"the body is empty; {wanted(about)}")
    if about.reads == "images" and kind != JSON:
        return Asked((body,), Options.of_query(about, query))
    if kind.startswith("image/"):
        raise Refused(415, f"this model reads no images; {wanted(about)}")
    values = _json(body, about)
    options = Options.of(about, values.get("parameters"))
    if about.reads == "images":
        return Asked((_image(values, about),), options)
    if about.reads == "table":
        return Asked(_table(values, about, limits), options)
    given = values.get("inputs")
    many = isinstance(given, list)
    texts = given if isinstance(given, list) else [given]
    if not texts or len(texts) > limits.max_rows:
        raise Refused(
            413 if texts else 400,
            f"'inputs' has {len(texts):,} texts; send from 1 to {limits.max_rows:,} in one request",
        )
    read = _pair if about.pair else _text
    return Asked(tuple(read(text, about) for text in texts), options, many)


def wanted(about: About) -> str:
    """Return in words what a body must be."""
    if about.reads == "images":
        return "send the bytes of an image, or JSON {'inputs': 'the image in base64'}"
    if about.reads == "table":
        names = first_few([column.name for column in about.columns])
        return f"send JSON {{'table': {{'COLUMN': [values]}}}} with the columns {names}"
    if about.pair:
        return "send JSON {'inputs': {'text': 'a text', 'text_pair': 'another'}}"
    return "send JSON {'inputs': 'a text'}"


def _json(body: bytes, about: About) -> Mapping[str, Any]:
    try:
        values = json.loads(body)
    except RecursionError:
        raise Refused(400, f"the JSON is nested too deeply; {wanted(about)}") from None
    except ValueError as error:  # also of what is not UTF-8
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Refused(400, f"the body is not JSON ({why}); {wanted(about)}") from None
    if not isinstance(values, dict):
        raise Refused(400, f"the JSON is no object; {wanted(about)}")
    return values


def _image(values: Mapping[str, Any], about: About) -> bytes:
    given = values.get("inputs")
    if not isinstance(given, str) or not given:
        raise Refused(400, f"'inputs' holds no image; {wanted(about)}")
    if given.startswith("data:"):
        given = given.partition(",")[2]
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, "'inputs' is not base64 of an image") from None


def _text(given: Any, about: About) -> str:
    if not isinstance(given, str):
        raise Refused(400, f"'inputs' holds {_kind(given)}; {wanted(about)}")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise Refused(400, "the text has half a character (a lone surrogate)") from None
    return given


def _pair(given: Any, about: About) -> tuple[str, str]:
    if not isinstance(given, dict):
        raise Refused(400, f"'inputs' holds {_kind(given)}; {wanted(about)}")
    return _text(given.get("text"), about), _text(given.get("text_pair"), about)


def _kind(value: Any) -> str:
    """Return what a value of JSON is, in words."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "nothing" if value is None else kinds.get(type(value), "a number")


def _table(values: Mapping[str, Any], about: About, limits: Limits) -> tuple[Any, ...]:
    """Return the rows of a table that comes as columns, as `{"table": {"age": [31, 52]}}`."""
    table, inputs = values.get("table"), values.get("inputs")
    if table is None and isinstance(inputs, dict):  # as it was in older versions of the client
        table = inputs.get("data", inputs)
    if not isinstance(table, dict) or not all(isinstance(one, list) for one in table.values()):
        raise Refused(400, f"there is no table of columns; {wanted(about)}")
    missing = [column.name for column in about.columns if column.name not in table]
    if missing:
        raise Refused(400, f"the table has no column {first_few(missing)}; {wanted(about)}")
    columns = {column.name: table[column.name] for column in about.columns}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise Refused(400, "the columns are not equally long")
    (length,) = lengths
    if not 0 < length <= limits.max_rows:
        most = f"send from 1 to {limits.max_rows:,} in one request"
        raise Refused(413 if length else 400, f"the table has {length:,} rows; {most}")
    rows = tuple(
        dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
    )
    for place, row in enumerate(rows):
        _require_cells(about, row, place)
    return rows


def _require_cells(about: About, row: Mapping[str, Any], place: int) -> None:
    for column in about.columns:
        value = row[column.name]
        if not isinstance(value, get_args(str | int | float | None)):
            where = f"row {place}, column '{column.name}'"
            raise Refused(400, f"{where}: expected a number or a word, got {_kind(value)}")
        try:
            number = cell(column, row, place)
        except DataError as error:
            raise Refused(400, str(error)) from None
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            raise Refused(400, f"row {place}, column '{column.name}': the number is too large")
