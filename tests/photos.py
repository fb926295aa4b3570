"""Makes photos for the tests of clients. All differ, and the outcome of each is known.

Each photo has one colour, for the model `tests/color_model`.
"""

import hashlib
import io
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MIB = 1024 * 1024
# S3's smallest part of a multipart upload, except for the last part.
PART = 5 * MIB
# Sizes in bytes of photos with two or three parts. The last part has one byte, fewer bytes than the others, or as many.
LARGE = (PART + 1, 7 * MIB, 2 * PART, 2 * PART + 1, 12 * MIB)
# Files that are not photos, and the reason in the ledger.
REASONS = {
    "truncated": "the JPEG file is cut off: upload it again",
    "text": "not a photo: send JPEG, PNG or WebP",
    "empty": "the file is empty: upload it again",
}
CLASSES = {"red": "AAW", "lime": "ECLW", "blue": "FAW"}
# Folder names as people and cameras choose them, with characters that URLs and signatures must encode.
FOLDERS = ("", "field 1/", "field+2/2026-11-20/", "champ n°3 (été)/", "蛾/100% & more/")


@dataclass(frozen=True)
class Photo:
    path: Path
    # COUNTED with the class, or REJECTED with the reason.
    outcome: tuple[str, str]

    def parts(self) -> list[bytes]:
        content = self.path.read_bytes()
        return [content[start : start + PART] for start in range(0, len(content), PART)] or [b""]

    def etag(self) -> str:
        """The object's ETag: the MD5 of its bytes, or the MD5 of the parts' MD5s, with the number of parts."""
        digests = [hashlib.md5(part).digest() for part in self.parts()]
        if len(digests) == 1:
            return f'"{digests[0].hex()}"'
        return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def make(folder: Path, count: int) -> dict[str, Photo]:
    """Writes `count` photos below `folder`, and returns them by their path in it."""
    kinds = [*LARGE, *REASONS]
    assert count > len(kinds), (
        f"{count} photos are too few: ask for more than {len(kinds)}, the number of large and rejected ones"
    )
    kinds += ["small"] * (count - len(kinds))
    photos = {}
    for index, kind in enumerate(kinds):
        color, label = list(CLASSES.items())[index % len(CLASSES)]
        key = f"{FOLDERS[index % len(FOLDERS)]}{kind} {index:03}.jpg"
        outcome = ("REJECTED", REASONS[kind]) if kind in REASONS else ("COUNTED", label)
        photos[key] = Photo(folder / key, outcome)
        photos[key].path.parent.mkdir(parents=True, exist_ok=True)
        photos[key].path.write_bytes(content(kind, index, color))
    return photos


def content(kind: int | str, index: int, color: str) -> bytes:
    """A JPEG of one colour with a comment that names `index`. If `kind` is a number, it is the size in bytes."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(file, "JPEG", comment=f"photo {index}")
    photo = file.getvalue()
    match kind:
        case int(size):
            # Decoders ignore bytes after a JPEG's end. Phones store data there.
            return photo + random.Random(index).randbytes(size - len(photo))
        case "truncated":
            return photo[: len(photo) // 2]
        case "text":
            return f"photo {index}".encode()
        case "empty":
            return b""
    return photo
