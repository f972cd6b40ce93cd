"""The main path: `finetune(recipe, out)`, and what it saves and verifies."""
