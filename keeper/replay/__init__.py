"""Replay: the same mirror, book, engine and planner over the blocks of the past, at the blocks' own times."""
