"""Trackers: settings, curves, figures and pictures of runs in TensorBoard, MLflow, W&B and trackio.

`asked.py` is what a user asks for, `follow.py` gives the trackers what a run writes down, and each
tracker has a file of its own. None of their packages is imported before it is asked for.
"""
