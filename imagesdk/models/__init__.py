"""What may be asked of a server: request records, limits as data, and the checks between them."""
