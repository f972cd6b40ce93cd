"""Runs beside each other: what each measured, and which differences are real."""

from ftkit.compare.tables import overview, rung_line, sheet, table

__all__ = ["overview", "rung_line", "sheet", "table"]
