"""The hand-written lists behind the tables of normalisation, and what reads them.

What must not go in here: anything that the product imports; tables are made offline.
"""
