"""What a finished run's model says of other rows."""
