"""The training loop: Trainer made exact, batches, precision, stopping and resuming."""
