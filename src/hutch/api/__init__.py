"""HTTP, and nothing but HTTP: one room per dialect, which translates and decides nothing, and what they share."""
