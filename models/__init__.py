"""How the models that ship with Enginehouse are made; never imported by the service."""
