"""What is asked of a fleet: traces, rate series and sessions, and the reading of the files that hold them."""
