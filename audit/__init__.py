"""The audit trail: receipts, the append-only log that holds them, and signed checkpoints of it.

Whoever checks a receipt later needs the receipt, a proof and a checkpoint; no secret, and trust in
neither side.  A log is a Merkle tree as in RFC 6962 and RFC 9162; its checkpoints are notes as in
the specifications of C2SP, so that witnesses of other logs understand them.
"""
