"""One module for each version of the schema but the first, which created its tables itself."""
