"""The Hugging Face Hub: what comes from it, and what its answers mean."""
