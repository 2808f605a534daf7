"""Which decoded pictures can be trusted after something in their stream was broken."""

from dataclasses import dataclass, field

import av
from av.video.frame import PictureType

_MOST_HELD = 16


@dataclass(slots=True)
class DamageWatch:
    """Follows damage from picture to picture until the next whole keyframe.

    A decoder flags the picture in which it noticed the damage; those predicted from it look just
    as wrong and carry no flag. B pictures are shown before, and decoded after, one of the pictures
    that they are predicted from: they are held back until that one is known to be whole. Streams
    without B pictures, which is nearly every camera, are not delayed.
    """

    _damaged: bool = False
    _error_at: float | None = None
    """Presentation time of the last packet that could not be decoded."""
    _started: bool = False
    _held: list[av.VideoFrame] = field(default_factory=list)

    def feed(self, keyframe: bool) -> None:
        """A packet goes to the decoder: a stream that begins between keyframes begins damaged.

        Not so a picture that is shown first: a trimmed file decodes some that it does not show.
        """
        if not self._started:
            self._started = True
            self._damaged |= not keyframe

    def broke(self, pts: float | None) -> None:
        """A packet was damaged or could not be decoded; ``pts`` in seconds where known."""
        self._damaged = True
        self._error_at = pts

    def judge(self, picture: av.VideoFrame) -> list[tuple[av.VideoFrame, bool]]:
        """The pictures, in order, that can be judged now, each with True where it is corrupt."""
        if picture.pict_type == PictureType.B and len(self._held) < _MOST_HELD:
            self._held.append(picture)
            return []
        was_damaged = self._damaged
        self._damaged = self._is_damaged(picture)
        bad = was_damaged or picture.is_corrupt
        judged = [(held, bad or held.is_corrupt) for held in self._held]
        self._held.clear()
        return [*judged, (picture, self._damaged)]

    def flush(self) -> list[tuple[av.VideoFrame, bool]]:
        """What is still held at the end of the stream."""
        judged = [(held, self._damaged or held.is_corrupt) for held in self._held]
        self._held.clear()
        return judged

    def _is_damaged(self, picture: av.VideoFrame) -> bool:
        if picture.is_corrupt:
            return True
        if not (self._damaged and picture.key_frame):
            return self._damaged
        # Decoders give pictures out late: a keyframe from before the error heals nothing.
        time = picture.time
        return self._error_at is not None and time is not None and time < self._error_at
