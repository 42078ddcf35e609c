"""Saved states: a guest's memory, devices and disk frozen together, immutable, and what a restore needs of them."""
