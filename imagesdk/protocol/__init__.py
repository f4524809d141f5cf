"""The wire format of the Images API, without any I/O: bytes in, values out, and back."""
