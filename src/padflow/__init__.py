"""padflow: face presentation-attack detection for live camera streams.

The public names are imported on first use, so that ``padflow --help`` and worker start-up pay
only for what they touch.
"""

__version__ = "0.1.0"
