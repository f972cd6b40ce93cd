"""ftkit's own recipes: one file each, found by `ftkit list` as soon as it lies here."""

OWNER = "ftkit"  # how ftkit.registry tells this package from another one of the same name
