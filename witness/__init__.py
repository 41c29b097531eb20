"""A witness: sees that a log only ever grows, and cosigns its checkpoints for others to rely on."""
