"""Labelled rows: `load_splits` reads them, `screen` leaves out or refuses those that are broken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features

from ftkit.data import conversations, lists  # noqa: F401 - register how theirs are read
from ftkit.data.columns import (
    canonical,
    has_column,
    input_columns,
    label_columns,
    located,
