"""Recorded outcomes of the real contracts, held against the keeper's engines. One module per protocol and file kind."""
