"""What a verified prediction costs, beside TenSEAL's unverified one, in one run."""
