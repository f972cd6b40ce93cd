"""Before a run: check data and plan, choose strategy and settings, search over them."""
