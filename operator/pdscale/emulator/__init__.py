"""An engine without a GPU: the real protocols, timed by a measured profile."""
