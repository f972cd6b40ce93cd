"""A row of a table in, one class out."""

from ftkit.tasks.tables import Tables


class TabularClassification(Tables):
    """One class out of C for each row of a table."""

    for_numbers = """to predict numbers use --set 'task={"kind": "tabular-regression"}'"""
