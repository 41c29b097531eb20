"""The server: keeps private models and enrolled keys, evaluates on ciphertexts and proves it.

It holds no secret key of any client and imports nothing that could read one.
"""
