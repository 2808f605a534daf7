"""The dataflow engine: packets, nodes, the frozen graph, the plan, the runtimes.

Knows nothing of faces and imports nothing else of padflow.
"""
