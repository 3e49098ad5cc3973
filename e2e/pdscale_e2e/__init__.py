"""What end-to-end tests, demo and benchmarks share: clusters, nodes, Prometheus, replay."""
