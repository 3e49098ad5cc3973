"""``pdscale profile``: measure an engine that serves, and write the performance profile that fits it."""
