"""Frozen values and the pure decisions over them. No I/O, no clock: every function is given time and bytes."""
