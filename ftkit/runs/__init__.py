"""The run folder as other programs read it: result, recipe, log, checkpoints, pictures."""
