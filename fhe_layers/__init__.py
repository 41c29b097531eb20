"""Evaluate: encryption, packing, linear layers on ciphertext words, sanitising, planning.

`fhe_layers.ckks` is the only module that knows TenSEAL and secret keys; it belongs to the client
and is not imported here.
"""
