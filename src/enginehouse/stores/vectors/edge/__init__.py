"""Collections in the embedded index, Qdrant Edge: a folder each, served by one child process."""
