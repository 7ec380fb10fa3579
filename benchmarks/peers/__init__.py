"""Ways to do a workload, one a file. Each runs in a process and an environment of its own."""
