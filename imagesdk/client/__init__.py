"""The session and what it hands out: it brings limiter, retry and transport together."""
