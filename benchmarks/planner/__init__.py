"""The planner beside the other rules: attainment, GPU-hours and changes on recorded and drawn workloads."""
