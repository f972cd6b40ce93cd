"""The machine a run stands on: processes, memory, files, terminal, and what stops a run."""
