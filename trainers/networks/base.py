"""What every network has in common: its outputs, its head, and how strange a crop is to it."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..weights import Weights
from .colour import Colour


class Outputs(NamedTuple):
    """What a network says of N pictures."""

    score: Tensor
    """float32 (N,): raw logit, positive is live."""
    embedding: Tensor
    """float32 (N, K)."""
    strangeness: Tensor
    """float32 (N,): above 1 is unlike anything trained on."""
    depth: Tensor | None = None
    """float32 (N, 32, 32) in 0..1, nearest 1; only of depth networks."""
    features_1: Tensor | None = None
    """float32 (N, C, 32, 32): what a depth network's first stage sees, for the motion network."""
    features_2: Tensor | None = None
    """The second stage: half the side."""
    features_3: Tensor | None = None
    """The third stage: half of that."""
    parts: Tensor | None = None
    """float32 (N,): in training, a second logit, learned for itself (`ViewsPartsNetwork`)."""


class Strangeness(nn.Module):
    """Mahalanobis distance of an embedding to the nearer of the two classes (Lee et al. 2018).

    One covariance serves both classes. Fitted after training with :meth:`fit`; until then every
    crop has strangeness 0.
    """

    means: Tensor
    whitening: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(2, size))
        self.register_buffer("whitening", torch.zeros(size, size))

    def forward(self, embedding: Tensor) -> Tensor:
        """Distance of each embedding, (N, K) to (N,), in units of the fitted quantile."""
        offsets = embedding.unsqueeze(1) - self.means
        squares = torch.matmul(offsets, self.whitening).square().sum(dim=2)
        return torch.sqrt(squares.amin(dim=1) + 1e-12)

    @torch.no_grad()
    def fit(
        self, embeddings: Tensor, live: Tensor, held_out: Tensor, *, quantile: float = 0.995
    ) -> None:
        """Learn from training crops, and set 1 at a quantile of the held-out crops.

        Args:
            embeddings: float (N, K) of training crops.
            live: bool (N,), their classes; both must occur.
            held_out: float (M, K) of crops that were not trained on.
            quantile: share of the held-out crops that is to count as not strange.
        """
        features = embeddings.double()
        means = torch.stack([features[live].mean(dim=0), features[~live].mean(dim=0)])
        residual = features - torch.where(live[:, None], means[0], means[1])
        covariance = residual.T @ residual / len(residual)
        # A little of the mean variance on the diagonal keeps directions without spread finite.
        ridge = 1e-3 * covariance.diagonal().mean() + 1e-9
        values, vectors = torch.linalg.eigh(covariance)
        whitening = vectors / torch.sqrt(values.clamp(min=0) + ridge)
        self.means.copy_(means)
        self.whitening.copy_(whitening)
        reach = torch.quantile(self(held_out.to(self.means.dtype)), quantile).clamp(min=1e-6)
        self.whitening.copy_(whitening / reach)


class Head(nn.Module):
    """Features to embedding to score."""

    def __init__(self, features: int, embedding: int, *, normalised: bool = False) -> None:
        """Layers for so many features.

        Args:
            features: length of what comes in.
            embedding: length of the embedding.
            normalised: normalise the embedding over the batch.
        """
        super().__init__()
        self.embed = nn.Linear(features, embedding)
        self.normalise = nn.BatchNorm1d(embedding) if normalised else nn.Identity()
        self.score = nn.Linear(embedding, 1)
        self.strangeness = Strangeness(embedding)

    def forward(self, features: Tensor) -> Outputs:
        """Features (N, F) to outputs without a depth map."""
        embedding = self.normalise(self.embed(features)).float()
        score = self.score(nn.functional.silu(embedding)).float().squeeze(1)
        return Outputs(score, embedding, self.strangeness(embedding))


class CropNetwork(nn.Module, ABC):
    """A network that takes one kind of crop, uint8 (N, side, side, 3) in RGB."""

    crop: ClassVar[str]
    """Name of the crop store's array that it looks at."""
    side: ClassVar[int]
    """Side of its pictures in pixels."""
    takes: ClassVar[str] = "image"
    """Name of its input: ``image``, or ``features`` of a third-party network."""
    precisions: ClassVar[tuple[str, ...]] = ("f32", "f16", "int8")
    """Those in which an export is worth making."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = Colour()

    def grown(self, weights: Weights) -> Weights:
        """Weights to start from, of a network of this design or of one that it is an extension of.

        What such a one has learned stays as it is: only the extension is trained.
        """
        return weights

    def forward(self, image: Tensor) -> Outputs:
        """What the network says of uint8 pictures."""
        return self.judge(self.colour(image))

    def example(self, count: int) -> Tensor:
        """An input of the right shape and type."""
        return torch.zeros(count, self.side, self.side, 3, dtype=torch.uint8)

    @abstractmethod
    def judge(self, planes: Tensor) -> Outputs:
        """What the network says of float32 (N, 6, side, side) planes."""

    @property
    def has_depth(self) -> bool:
        """Whether the outputs hold a depth map."""
        return False

    @property
    def stage_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Channels, height and width of the stage features among the outputs; depth networks."""
        return ()

    @property
    def head(self) -> Head:
        """The head, which holds the strangeness."""
        head = self.get_submodule("classify")
        assert isinstance(head, Head)
        return head
