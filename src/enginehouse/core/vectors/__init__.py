"""Collections of vectors: whose they are, what may be put into them, and texts in the place of vectors."""
