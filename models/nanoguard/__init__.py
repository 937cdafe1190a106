"""How NanoGuard, a classifier of two labels that others published, becomes a folder that the service can open."""
