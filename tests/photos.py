"""Makes photos for the tests of clients: no two alike, and the outcome of each is known.

They are of one colour, for `tests/color_model`.
"""

import hashlib
import io
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

MIB = 1024 * 1024
# The least that S3 takes as a part of an upload that is not the last.
PART = 5 * MIB
# Bytes of photos that go up in two or three parts; the last part is of one byte, shorter than the others or as long.
LARGE = (PART + 1, 7 * MIB, 2 * PART, 2 * PART + 1, 12 * MIB)
# Files that are no photos, and the reason in the ledger.
REASONS = {
    "truncated": "the JPEG file is cut off: upload it again",
    "text": "not a picture: send JPEG, PNG or WebP",
    "empty": "the file is empty: upload it again",
}
CLASSES = {"red": "AAW", "lime": "ECLW", "blue": "FAW"}
# As people and cameras name folders, with characters that URLs and signatures encode.
FOLDERS = ("", "field 1/", "field+2/2026-11-20/", "champ n°3 (été)/", "蛾/100% & more/")


@dataclass(frozen=True)
class Photo:
    path: Path
    # COUNTED and the class, or REJECTED and the reason.
    outcome: tuple[str, str]

    def parts(self) -> list[bytes]:
        content = self.path.read_bytes()
        return [content[start : start + PART] for start in range(0, len(content), PART)] or [b""]

    def etag(self) -> str:
        """The object's: the MD5 of its bytes, or the MD5 of the MD5s of its parts, and their number."""
        digests = [hashlib.md5(part).digest() for part in self.parts()]
        if len(digests) == 1:
            return f'"{digests[0].hex()}"'
        return f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'


def make(folder: Path, count: int) -> dict[str, Photo]:
    """Writes `count` photos below `folder`. The answer has each under its path in it."""
    kinds = [*LARGE, *REASONS]
    assert count > len(kinds), f"{count} photos are too few: {len(kinds)} of them are large or rejected"
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
    """A JPEG of one color, with a comment that no other `index` has. A `kind` that is a number is its bytes."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(file, "JPEG", comment=f"photo {index}")
    photo = file.getvalue()
    match kind:
        case int(size):
            # What follows a JPEG's end does not matter to a decoder, as phones know.
            return photo + random.Random(index).randbytes(size - len(photo))
        case "truncated":
            return photo[: len(photo) // 2]
        case "text":
            return f"photo {index}".encode()
        case "empty":
            return b""
    return photo
