"""Makes nodes/canonical_face.npz, the average face that poses and skin maps refer to.

The mesh network's package carries no canonical model, so this derives one: the network is run on
mirrored, turned, tilted and shifted versions of two public-domain portraits (scikit-image's
astronaut, matplotlib's grace_hopper.jpg), the pose is removed by generalised Procrustes analysis
(Gower 1975), and the result is made mirror-symmetric and averaged.

    python -m padflow.trainers.canonical [--out FILE] [--picture FILE]

Two people are few: the shape serves as a common frame for everybody, not as a statistical model.
"""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from ..nodes import canonical
from ..nodes.mesh import CROP_SIDE, MeshNet, Square, square_of_mesh, to_frame

VERSIONS = 150
"""Versions of each portrait; half of them mirrored."""

GRID = canonical.GRID_SIDE

_MOST_SKEW = 0.1
"""Largest distance between a point and its mirrored partner, in interocular distances."""

PORTRAITS = {"astronaut": (225.0, 123.0, 161.0), "grace_hopper": (267.0, 234.0, 304.0)}
"""Centre x, centre y and crop side in pixels of each portrait's face."""
PORTRAIT_FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
"""Package and path in it."""


def main() -> None:
    """Command line: derive the face, save it, and draw it where asked."""
    parser = argparse.ArgumentParser(description="Derive the canonical face from two portraits.")
    parser.add_argument("--out", type=Path, default=canonical.DATA)
    parser.add_argument("--picture", type=Path, help="draw mesh, grid and regions to this PNG")
    options = parser.parse_args()
    points, mirror = derive(np.random.default_rng(468))
    arrays = lay_out(points, mirror)
    np.savez_compressed(options.out, allow_pickle=False, **arrays)
    print(f"{options.out}: {len(points)} points, {len(arrays['triangles'])} triangles")
    if options.picture:
        cv2.imwrite(str(options.picture), picture(canonical.load(options.out))[:, :, ::-1])
        print(options.picture)


def derive(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Average mesh in interocular units, and the mirror map.

    Returns:
        float64 (468, 3) points, symmetric about x = 0, and int64 (468,) mirror partner of each.
    """
    meshes = []
    with MeshNet() as net:
        for name, (x, y, side) in PORTRAITS.items():
            for version, flipped in versions(portrait(name), (x, y), side, rng):
                mesh = settle(net, version)
                if mesh is not None:
                    meshes.append((mesh, flipped))
    shapes = np.stack([m for m, _ in meshes]).astype(np.float64)
    aligned = generalised_procrustes(shapes)
    flipped_ones = np.array([f for _, f in meshes])
    average = (aligned[flipped_ones].mean(0) + aligned[~flipped_ones].mean(0)) / 2
    average = to_axes(average)
    mirror = mirror_map(average)
    symmetric = (average + average[mirror] * (-1, 1, 1)) / 2
    return to_axes(symmetric), mirror


def portrait(name: str) -> np.ndarray:
    """One of the two public-domain portraits, uint8 RGB.

    Raises:
        FileNotFoundError: The package that carries it is not installed.
    """
    package, path = PORTRAIT_FILES[name]
    found = find_spec(package)
    file = Path(found.origin).parent / path if found and found.origin else None
    image = cv2.imread(str(file)) if file else None
    if image is None:
        raise FileNotFoundError(
            f"portrait {name}: expected {path} in the package {package}, found none; "
            "run pip install 'padflow[demo]'"
        )
    return np.ascontiguousarray(image[:, :, ::-1])


def versions(
    image: np.ndarray, centre: tuple[float, float], side: float, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, bool]]:
    """Pictures of 288 px around the face: mirrored or not, tilted in perspective, jittered."""
    out = CROP_SIDE * 3 // 2
    square = Square(*centre, side * 1.5, 0.0).matrix(out).astype(np.float64)
    base = np.vstack([cv2.invertAffineTransform(square), (0.0, 0.0, 1.0)])
    corners = np.array([(0, 0), (out, 0), (out, out), (0, out)], np.float32)
    for number in range(VERSIONS):
        flipped = number % 2 == 1
        mirror = np.array([(-1, 0, out - 1), (0, 1, 0), (0, 0, 1)]) if flipped else np.eye(3)
        jitter = rng.uniform(-0.05, 0.05, (4, 2)) + rng.uniform(-0.04, 0.04, 2)
        moved = (corners + jitter * out).astype(np.float32)
        tilt = cv2.getPerspectiveTransform(corners, moved)
        version = cv2.warpPerspective(
            image, tilt @ mirror @ base, (out, out), flags=cv2.INTER_AREA,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        gain, blur = rng.uniform(0.6, 1.2), rng.uniform(0.3, 1.5)
        version = cv2.GaussianBlur(cv2.convertScaleAbs(version, alpha=gain), (0, 0), blur)
        yield version, flipped


def settle(net: MeshNet, image: np.ndarray) -> np.ndarray | None:
    """Mesh of the face in the middle of a picture, after the crop has settled on it."""
    middle = image.shape[0] / 2
    square = Square(middle, middle, image.shape[0] / 1.5, 0.0).matrix()
    mesh: np.ndarray | None = None
    for _ in range(3):
        crop = cv2.warpAffine(
            image, square, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        found, presence = net.infer(crop)
        if presence < 0.9:
            return None
        mesh = to_frame(found, square)
        square = square_of_mesh(mesh).matrix()
    return mesh


def generalised_procrustes(shapes: np.ndarray, rounds: int = 10) -> np.ndarray:
    """Shapes (n, 468, 3) without position, size and rotation, each moved onto their mean."""
    shapes = shapes - shapes.mean(1, keepdims=True)
    shapes = shapes / np.sqrt((shapes**2).sum((1, 2), keepdims=True))
    mean = shapes[0]
    for _ in range(rounds):
        left, _, right = np.linalg.svd(np.einsum("nki,kj->nij", shapes, mean))
        left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
        shapes = np.einsum("nki,nij->nkj", shapes, left @ right)
        mean = shapes.mean(0)
        mean = mean / np.sqrt((mean**2).sum())
    return np.asarray(shapes)


def to_axes(points: np.ndarray) -> np.ndarray:
    """Level the eyes, stand the forehead and chin upright, centre and scale to the eyes.

    x to the picture's right, y down, z away from the camera; the origin lies between the eyes'
    centres in x and y and at the outer eye corners' depth in z.
    """
    eyes = [
        points[list(c)].mean(0) for c in (canonical.RIGHT_EYE_CORNERS, canonical.LEFT_EYE_CORNERS)
    ]
    across = eyes[1] - eyes[0]
    across /= np.linalg.norm(across)
    down = points[canonical.CHIN] - points[canonical.FOREHEAD_TOP]
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    axes = np.stack([across, down, np.cross(across, down)])
    moved = (points - (eyes[0] + eyes[1]) / 2) @ axes.T
    right, left = (
        moved[list(c)].mean(0) for c in (canonical.RIGHT_EYE_CORNERS, canonical.LEFT_EYE_CORNERS)
    )
    moved /= np.linalg.norm(left - right)
    moved[:, 2] -= moved[[canonical.RIGHT_EYE_OUTER, canonical.LEFT_EYE_OUTER], 2].mean()
    return np.asarray(moved)


def mirror_map(points: np.ndarray) -> np.ndarray:
    """Partner of each point under left-right mirroring, an involution.

    Raises:
        ValueError: If the points do not pair up, or not within a tenth of the eyes' distance.
    """
    distance = np.linalg.norm(points[:, None] - points[None] * (-1, 1, 1), axis=2)
    _, partner = linear_sum_assignment((distance + distance.T) ** 2)
    count = np.arange(len(points))
    if not (partner[partner] == count).all() or distance[count, partner].max() > _MOST_SKEW:
        raise ValueError(
            "mirror map: expected points that pair up across the middle, found a face that is too "
            "skew; look at the portraits and their crops"
        )
    return np.asarray(partner)


def lay_out(points: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    """Triangulate the unwrapped face and lay the grid of cells over it."""
    chart = unwrap(points)
    mesh = Delaunay(chart)
    oval = chart[list(canonical.OVAL)].astype(np.float32)
    middles = chart[mesh.simplices].mean(1)
    inside = np.array(
        [cv2.pointPolygonTest(oval, tuple(map(float, m)), False) > 0 for m in middles]
    )
    triangles = mesh.simplices[inside]
    # On the chart, as seen from the front: on the flanks the surface itself may face backwards.
    first, second, third = (chart[triangles[:, i]] for i in range(3))
    (ax, ay), (bx, by) = (second - first).T, (third - first).T
    triangles = np.where((ax * by - ay * bx < 0)[:, None], triangles, triangles[:, ::-1])
    low, high = chart[list(canonical.OVAL)].min(0), chart[list(canonical.OVAL)].max(0)
    steps = (np.arange(GRID) + 0.5) / GRID
    across, down = np.meshgrid(*(low[i] + steps * (high[i] - low[i]) for i in range(2)))
    cells = np.stack([across.ravel(), down.ravel()], 1)
    found = mesh.find_simplex(cells)
    covered = (found >= 0) & inside[np.maximum(found, 0)]
    found = np.where(covered, found, 0)
    affine = mesh.transform[found]
    two = np.einsum("nij,nj->ni", affine[:, :2], cells - affine[:, 2])
    weights = np.column_stack([two, 1 - two.sum(1)])
    weights[~covered] = 1 / 3
    return {
        "points": points.astype(np.float32),
        "mirror": mirror.astype(np.int16),
        "triangles": triangles.astype(np.int16),
        "chart": ((chart - low) / (high - low) * GRID).astype(np.float32),
        "cell_corners": mesh.simplices[found].astype(np.int16),
        "cell_weights": weights.astype(np.float32),
        "covered": covered.reshape(GRID, GRID),
    }


def unwrap(points: np.ndarray) -> np.ndarray:
    """Cylindrical unwrapping about a vertical axis through the head: angle and height.

    The axis lies behind the sides of the face, so that its flanks keep about their true width.
    """
    axis = points[[canonical.RIGHT_SIDE, canonical.LEFT_SIDE], 2].mean() + 0.35
    angle = np.arctan2(points[:, 0], axis - points[:, 2])
    return np.column_stack([angle, points[:, 1]])


def picture(face: canonical.CanonicalFace, scale: int = 28) -> np.ndarray:
    """The mesh, the cells and the regions on the unwrapped face, and the mesh from the front."""
    side = canonical.GRID_SIDE * scale
    chart = np.full((side, side, 3), 255, np.uint8)
    colours = {
        "forehead": (255, 200, 120),
        "right_cheek": (160, 220, 160),
        "left_cheek": (160, 190, 250),
    }
    for row, column in np.argwhere(face.covered):
        tint = (235, 225, 215) if face.skin[row, column] else (200, 200, 200)
        for name, mask in face.regions.items():
            tint = colours[name] if mask[row, column] else tint
        corner = (column * scale, row * scale)
        cv2.rectangle(chart, corner, (corner[0] + scale - 2, corner[1] + scale - 2), tint, -1)
    front = np.full((side, side, 3), 255, np.uint8)
    span = np.ptp(face.points[:, :2], axis=0).max() * 1.05
    middle = (face.points[:, :2].max(0) + face.points[:, :2].min(0)) / 2
    views = (
        (chart, face.chart * scale),
        (front, (face.points[:, :2] - middle) / span * side + side / 2),
    )
    for image, places in views:
        for triangle in places[face.triangles].round().astype(np.int32):
            cv2.polylines(image, [triangle], True, (90, 90, 90), 1, cv2.LINE_AA)
        for name in canonical.LOOPS:
            loop = places[list(canonical.LOOPS[name])].round().astype(np.int32)
            cv2.polylines(image, [loop], True, (200, 30, 30), 2, cv2.LINE_AA)
    return np.hstack([chart, front])


if __name__ == "__main__":
    main()
