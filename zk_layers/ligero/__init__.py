"""Ligero (Ames, Hazay, Ishai, Venkitasubramaniam 2017) over several prime fields in lockstep.

Unique decoding only: no proximity conjecture.  One Merkle tree, one set of opened columns.
"""
