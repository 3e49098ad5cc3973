"""What to buy for a workload: profiles and numbers of replicas, before anything is installed."""
