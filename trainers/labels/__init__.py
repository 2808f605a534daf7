"""What the networks are trained to answer: depth maps, and the spectrum of the pulse."""

from .depth import DEPTH_VERSION, FLOOR, depth_label, plane_label

__all__ = ["DEPTH_VERSION", "FLOOR", "depth_label", "plane_label"]
