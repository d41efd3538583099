"""Face models that others publish, turned into this package's own (`inversefacenet import-model`).

A reader per kind makes a `RawModel` of the files; `assembly` cuts, thins, aligns and annotates it. No
model's data comes with this package: BFM 2009, 2017 and 2019 need the licence of the University of
Basel, ICT-FaceKit is under MIT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.assembly import ImportOptions, assemble
from inversefacenet.importers.raw_model import RawModel
from inversefacenet.morphable_model import MorphableModel

Kind = Literal["bfm2009", "bfm2017", "bfm2019", "ict"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def read(
    kind: Kind, source: Path, expression: Path | None = None, encoding: Literal["srgb", "linear"] = "srgb"
) -> RawModel:
    """Read a published face model as it is, in millimetres and linear reflectance.

    Args:
        kind: Which one.
        source: Its file, or the folder `FaceXModel` of ICT-FaceKit.
        expression: File of an expression basis; only BFM 2009 needs one.
        encoding: What the file's colours are; see `inversefacenet.importers.encoded_colour`.

    Raises:
        FaceModelError: If a file is missing, damaged or of another kind.
        MissingDependencyError: If scipy (.mat) or h5py (.h5) isn't installed.
    """
    if expression is not None and kind != "bfm2009":
        raise FaceModelError(f"{kind} brings its own expressions: leave --expression out.")
    if kind == "bfm2009":
        from inversefacenet.importers.bfm2009 import read_bfm2009

        return read_bfm2009(source, expression, encoding)
    if kind == "ict":
        from inversefacenet.importers.ict import read_ict

        return read_ict(source)
    from inversefacenet.importers.bfm_hdf5 import read_bfm_hdf5

    return read_bfm_hdf5(source, kind, encoding)


__all__ = ["KINDS", "ImportOptions", "Kind", "MorphableModel", "RawModel", "assemble", "read"]
