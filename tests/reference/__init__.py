"""What the package computes in an engine, once more in plain Python, as slow as it is clear."""
