"""What client, server and auditor agree on: encodings, digests, parameters, models, requests.

A leaf package: it may use the arithmetic in `kernels`, and nothing else of this project.
"""
