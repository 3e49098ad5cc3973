"""What becomes of one request at each of a router's three places."""
