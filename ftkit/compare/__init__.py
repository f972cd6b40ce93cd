"""Runs beside each other: what each measured, and which differences are real."""

from ftkit.compare.tables import sheet, table

__all__ = ["sheet", "table"]
