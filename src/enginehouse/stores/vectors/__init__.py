"""Collections of vectors: the embedded index or a Qdrant server, behind one protocol."""
