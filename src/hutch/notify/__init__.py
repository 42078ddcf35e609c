"""Telling others: how a message reaches an address that a tenant has named, and which addresses may be named."""
