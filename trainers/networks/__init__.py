"""The networks: uint8 pictures in, score, embedding and strangeness out; the only torch models."""

from .base import CropNetwork, Outputs
from .catalogue import NETWORKS, NetworkOptions, build_network

__all__ = ["NETWORKS", "CropNetwork", "NetworkOptions", "Outputs", "build_network"]
