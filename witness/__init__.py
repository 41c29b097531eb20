"""A witness: sees that a log only ever grows, and cosigns its checkpoints for others to rely on.

The protocol is c2sp.org/tlog-witness.  What a witness promises rests on its memory: restored from a
backup, it would sign a second history after the point of the backup.  A witness whose database is
lost or was put back is retired, and a new one with new keys takes its place in the policies.
"""
