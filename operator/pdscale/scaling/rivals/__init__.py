"""Other people's scaling rules, and yardsticks, to be compared with ours on the same observations."""
