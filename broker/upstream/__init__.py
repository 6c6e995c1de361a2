"""Asking providers: connectors by kind of endpoint, signing dialects and secrets, checking answers, single-flight.

What must not go in here: who may ask, what is kept of an answer, and whether to ask at all; those come before.
"""
