"""REST for those who cannot speak gRPC: the same procedures behind HTTP, off unless asked for.

Needs the extra `web`; nothing else of the server imports it before a setting asks for the gateway.
What is small is JSON; what has words of ciphertexts and keys is the messages of gRPC, each behind
its length (`wire.delimited`).
"""

from server.gateway.app import gateway_app
from server.gateway.serving import serving

__all__ = ["gateway_app", "serving"]
