"""How padflow meets the world: command line, Python session, graphs, demo, benchmarks."""
