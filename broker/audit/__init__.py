"""The audit log: streams of records, checkpoints over them, and what proves that neither was changed.

What must not go in here: code.
"""
