"""The two sides of one hop: the client's request and answer, and the calls made for it."""
