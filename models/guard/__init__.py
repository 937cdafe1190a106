"""The prompt guard: its data, its training, its figures. See `models/README.md` for the commands."""
