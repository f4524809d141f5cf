"""Transports: they carry one request to the server and its answer back, and decide nothing."""
