"""Rows of data: sources, formats, columns, labels, splits, and what is odd with them.

Nothing here knows a task; `ftkit.tasks.loading` reads the rows of one.
"""
