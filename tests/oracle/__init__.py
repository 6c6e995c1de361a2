"""Readable twins of the native modules, for tests only: right before fast. They share no code with what they check."""
