"""Machines' networks: slots, what machines may reach, and the resolver they ask."""
