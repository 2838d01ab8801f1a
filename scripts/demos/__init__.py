"""Scenarios of `make demo`, and the stage that they play on."""
