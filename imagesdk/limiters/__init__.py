"""Limiters: they let a call through when the server will accept it, and not before."""
