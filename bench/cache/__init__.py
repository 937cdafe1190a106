"""The semantic cache on trial: how its word lists and its calibration are made, and what it then serves."""
