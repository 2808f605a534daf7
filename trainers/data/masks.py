"""3DMAD (Erdogmus and Marcel 2013), HKBU-MARs V2 (Liu et al. 2016) and SiW-M (Liu et al. 2019)."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path, PurePosixPath

from .files import Claim, collect, document, is_video, read_lines, stem
from .sample import Dataset, Part, Sample

_3DMAD_NAME = re.compile(r"(\d\d)_(0[1-3])_(0[1-5])")
_3DMAD_CLIENTS = 17


def read_3dmad(root: Path) -> Dataset:
    """List 3DMAD: 255 files ``<client>_<session>_<shot>.hdf5`` (17 x 3 x 5); none is opened.

    Sessions 1 and 2 are live, session 3 shows masks of the clients. The dataset has no parts:
    its protocol leaves one client out.
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _3DMAD_NAME.fullmatch(path.stem)
        if match is None or not 1 <= int(match[1]) <= _3DMAD_CLIENTS:
            return document(path)
        if path.suffix not in (".hdf5", ".h5"):
            return Claim.COMPANION if path.suffix in (".pos", ".txt") else Claim.SURPLUS
        mask = match[2] == "03"
        return Sample(
            root / path,
            "3dmad",
            "attack" if mask else "live",
            "mask" if mask else "live",
            "mask:thatsmyface" if mask else "",
            person=match[1],
            session=match[2],
            camera="kinect",
            medium="thatsmyface" if mask else "",
        )

    clients = range(1, _3DMAD_CLIENTS + 1)
    expected = (f"{c:02d}_0{s}_0{n}" for c, s, n in product(clients, (1, 2, 3), range(1, 6)))
    return collect("3dmad", root, claim, expected, stem)


_HKBU_LABELS = {"real": "live", "live": "live", "genuine": "live", "attack": "mask", "mask": "mask"}
_HKBU_COUNTS = {"live": 504, "attack": 504}
_HKBU_SUBJECTS = 12


def read_hkbu(root: Path) -> Dataset:
    """Read HKBU-MARs V2: 504 live and 504 mask videos of 12 subjects, below ``real``, ``attack``.

    The release is given out on request and its file names are not documented in public, so that
    only this is taken from them: the folder ``real`` or ``attack`` says the label, the first
    number of the path below it is the person. Camera and light stay unknown.
    """

    def claim(path: PurePosixPath) -> Sample | Claim:
        at = [i for i, part in enumerate(path.parts[:-1]) if part.lower() in _HKBU_LABELS]
        if not at or not is_video(path):
            return document(path)
        species = _HKBU_LABELS[path.parts[at[-1]].lower()]
        number = re.search(r"\d+", "/".join(path.parts[at[-1] + 1 :]))
        return Sample(
            root / path,
            "hkbu-mars",
            "live" if species == "live" else "attack",
            species,
            "" if species == "live" else "mask:resin",
            person=str(int(number[0])) if number else "",
        )

    found = collect("hkbu-mars", root, claim)
    missing = _short(found, _HKBU_COUNTS)
    persons = len({s.person for s in found.samples})
    if persons < _HKBU_SUBJECTS:
        missing += (f"{_HKBU_SUBJECTS - persons} of {_HKBU_SUBJECTS} subjects",)
    return replace(found, missing=missing)


_SIWM_KINDS = {
    "Live": ("live", ""),
    "Makeup_Co": ("makeup", "makeup:cosmetic"),
    "Makeup_Im": ("makeup", "makeup:impersonation"),
    "Makeup_Ob": ("makeup", "makeup:obfuscation"),
    "Mask_Half": ("mask", "mask:half"),
    "Mask_Mann": ("mask", "mask:mannequin"),
    "Mask_Paper": ("mask", "mask:paper"),
    "Mask_Silicone": ("mask", "mask:silicone"),
    "Mask_Trans": ("mask", "mask:transparent"),
    "Paper": ("print", "print:paper"),
    "Partial_Eye": ("partial", "partial:eye"),
    "Partial_Mouth": ("partial", "partial:mouth"),
    "Partial_Cut": ("partial", "partial:paper"),
    "Partial_Funnyeye": ("partial", "partial:funny-eye-glasses"),
    "Partial_Paperglass": ("partial", "partial:paper-glasses"),
    "Replay": ("screen", "screen:replay"),
}
"""How a file's name begins: species and instrument."""
_SIWM_NAME = re.compile(rf"({'|'.join(_SIWM_KINDS)})_(\d+)")
_SIWM_COUNTS = {"live": 660, "attack": 968}
_SIWM2_COUNTS = {"live": 785, "attack": 915}
_SIWM_LISTS: tuple[tuple[str, Part], ...] = (
    ("trainlist_live", "train"),
    ("trainlist_all", "train"),
    ("testlist_live", "test"),
    ("testlist_all", "test"),
)


def read_siw_m(root: Path) -> Dataset:
    """Read SiW-M or SiW-Mv2: ``Live/Live_7.mov``, ``Spoof/<folder>/Mask_Half_12.mov``.

    The names do not say who is shown: persons are unknown, and no split of this dataset can be
    proved disjoint by person. Where the lists of SiW-Mv2's protocol 1 (``trainlist_live.txt``,
    ``trainlist_all.txt``, ``testlist_*.txt``) lie in the folder, they give the parts and what is
    missing; else only the counts of a release can (660 live and 968 spoof videos, or 785 and
    915).

    Raises:
        DataError: a list cannot be read.
    """
    parts = _siwm_parts(root)

    def claim(path: PurePosixPath) -> Sample | Claim:
        match = _SIWM_NAME.fullmatch(path.stem)
        if match is None or not is_video(path):
            return Claim.COMPANION if path.suffix in (".txt", ".face", ".pdf") else Claim.SURPLUS
        species, instrument = _SIWM_KINDS[match[1]]
        return Sample(
            root / path,
            "siw-m",
            "live" if species == "live" else "attack",
            species,
            instrument,
            split=parts.get(path.stem, ""),
        )

    found = collect("siw-m", root, claim, parts, stem)
    return found if parts else replace(found, missing=_siwm_short(found))


def _siwm_parts(root: Path) -> dict[str, Part]:
    lists = {path.stem: path for path in sorted(root.rglob("*list_*.txt"))}
    return {
        name: part
        for file, part in _SIWM_LISTS
        if file in lists
        for name in read_lines(lists[file])
    }


def _siwm_short(found: Dataset) -> tuple[str, ...]:
    first, second = _short(found, _SIWM_COUNTS), _short(found, _SIWM2_COUNTS)
    if not first or not second:
        return ()
    return tuple(f"{a} (SiW-Mv2: {b})" for a, b in zip(first, second, strict=False))


def _short(found: Dataset, wanted: dict[str, int]) -> tuple[str, ...]:
    have = {label: sum(s.label == label for s in found.samples) for label in wanted}
    return tuple(
        f"{n - have[label]} of {n} {label} videos" for label, n in wanted.items() if have[label] < n
    )
