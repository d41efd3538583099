"""Photos as textures: `unwrap_photo` lays a reconstructed face's photo out on the model's `FaceAtlas`."""

from inversefacenet.texture.atlas import FaceAtlas, load_atlas
from inversefacenet.texture.unwrap import MIRRORED, MODEL, NOTHING, PHOTO, Texture, unwrap_photo

__all__ = ["MIRRORED", "MODEL", "NOTHING", "PHOTO", "FaceAtlas", "Texture", "load_atlas", "unwrap_photo"]
