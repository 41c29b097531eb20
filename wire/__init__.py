"""The wire: protobuf framing around canonical bytes, and the only code that knows it.

`wire.v1` is generated from proto/ and imported by the codecs of this package alone.  Codecs turn
untrusted messages into validated arrays, with every size checked before memory is taken for it.
"""
