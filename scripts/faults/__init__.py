"""Seeded faults: small changes of ftkit's code, each of which a test should notice."""
