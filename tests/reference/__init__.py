"""Slow, readable twins of the compiled kernels, in Python integers.

Each module states one piece of mathematics as directly as it can. The property tests compare the
kernels with them word for word.
"""
