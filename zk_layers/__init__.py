"""Prove and verify that a homomorphic evaluation was done with the committed model.

Symbols used throughout: l message elements of a row, t opened columns, n code positions,
k = l + t; q_l the prime of a limb; E its quadratic extension, in which challenges live as pairs
of base-field vectors drawn from one hash.  No module here imports TenSEAL: ciphertexts arrive as
arrays of words `(unit, poly, limb, n)` in the NTT domain.
"""
