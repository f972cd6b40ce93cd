"""Models in one file that answers without torch: what is in it, and what it says of rows.

Nothing here imports torch, transformers or datasets, nor what needs them: NumPy, Pillow, the
tokenizers and the engine that runs the file are enough. `ftkit.shipping` makes such files.
"""
