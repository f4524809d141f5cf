"""Many requests from a file: read them, run them, keep what they bring."""
