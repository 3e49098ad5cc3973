"""The router against its peers: ``make bench-router`` or ``python -m benchmarks.router --quick``.

Every proxy runs on one core; mock engines and the clients run on another. All stacks are alive at once and
take turns within each round, so that what the machine does besides hits them alike. What is compared is the
CPU time of a proxy's processes per request and per token, and what it adds to a direct run's delays: both
hold on a busy machine better than rates do.
"""
