"""A row of a table in, one number out."""

from ftkit.tasks.numbers import Numbers
from ftkit.tasks.tables import Tables


class TabularRegression(Numbers, Tables):
    """One number for each row of a table."""
