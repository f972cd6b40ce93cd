"""A finished run for others: its model card, and its way to the Hub."""
