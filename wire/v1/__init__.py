"""Generated from proto/blindproof/v1 by `make proto`."""
