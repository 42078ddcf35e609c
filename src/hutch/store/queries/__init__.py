"""The queries of `database.py`, one file for each part of the interface."""
