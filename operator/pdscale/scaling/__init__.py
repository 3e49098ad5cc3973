"""From a forecast to a plan."""
