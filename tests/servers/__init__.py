"""Real servers on loopback, for tests: each starts on a free port and is stopped at the end."""
