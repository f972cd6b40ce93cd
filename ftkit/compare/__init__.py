"""Runs beside each other: what each measured, and which differences are real."""
