"""Writes test_images/: good and bad photos of every kind that the function handles.

The result is deterministic for the Pillow version in model/requirements.txt. Other versions encode other bytes, so run
tests/golden.py after this script. It needs jpegtran (Debian's libjpeg-turbo-progs), because Pillow cannot write
arithmetic-coded JPEGs.
"""

import argparse
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "model"))

import draw_moths

SEED = 7
SIZE = (400, 300)
Flip = Image.Transpose
# How an upright image must be stored for each EXIF orientation.
STORED = {
    2: Flip.FLIP_LEFT_RIGHT,
    3: Flip.ROTATE_180,
    4: Flip.FLIP_TOP_BOTTOM,
    5: Flip.TRANSPOSE,
    6: Flip.ROTATE_90,
    7: Flip.TRANSVERSE,
    8: Flip.ROTATE_270,
}
ORIENTATION = 0x0112  # EXIF tag


def moth(label: str, index: int, size: tuple[int, int] = SIZE) -> Image.Image:
    turn = draw_moths.LABELS.index(label)
    image, drawn = draw_moths.drawing(SEED, "gallery", index * len(draw_moths.LABELS) + turn, size)
    assert drawn == label
    return image


def plain(good: Path) -> None:
    moth("AAW", 0).save(good / "aaw.jpg", quality=85)
    moth("ECLW", 0).save(good / "eclw.jpg", quality=85)
    moth("FAW", 0).save(good / "faw.jpg", quality=85)
    moth("AAW", 1, (280, 210)).save(good / "aaw.png", optimize=True)
    moth("ECLW", 1, (280, 210)).save(good / "eclw.png", optimize=True)
    moth("FAW", 1, (280, 210)).save(good / "faw.png", optimize=True)
    moth("AAW", 2).save(good / "aaw.webp", quality=80)
    moth("ECLW", 2).save(good / "eclw.webp", quality=80)
    moth("FAW", 2, (280, 210)).save(good / "faw-lossless.webp", lossless=True)
    moth("FAW", 3).save(good / "faw-444.jpeg", quality=85, subsampling="4:4:4")
    moth("ECLW", 3).save(good / "eclw-420.JPG", quality=85, subsampling="4:2:0")
    moth("FAW", 3).save(good / "faw-422.jpg", quality=85, subsampling="4:2:2")
    moth("AAW", 3).save(good / "aaw-progressive.jpg", quality=85, progressive=True)
    moth("AAW", 3).save(good / "aaw-restarts.jpg", quality=85, restart_marker_blocks=7)


def oriented(good: Path) -> None:
    upright = moth("FAW", 4)
    for orientation, transpose in STORED.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        upright.transpose(transpose).save(good / f"faw-orientation-{orientation}.jpg", quality=85, exif=exif)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    moth("ECLW", 4).transpose(STORED[6]).save(good / "eclw-orientation-6.webp", quality=80, exif=exif)
    moth("AAW", 4, (280, 210)).transpose(STORED[6]).save(good / "aaw-orientation-6.png", exif=exif)


def odd_pixels(good: Path) -> None:
    moth("AAW", 5).convert("L").save(good / "aaw-gray.jpg", quality=85)
    small = (240, 180)
    moth("ECLW", 5, small).convert("L").save(good / "eclw-gray.png", optimize=True)
    moth("ECLW", 6, small).convert("L").convert("1").save(good / "eclw-1-bit.png")
    gray = np.asarray(moth("ECLW", 6, small).convert("L"), np.uint16)
    Image.fromarray(deepen(gray)).save(good / "eclw-gray-16-bit.png")
    with_alpha(moth("FAW", 5, small).convert("L"), "LA").save(good / "faw-gray-alpha.png")
    moth("FAW", 6, small).quantize(64).save(good / "faw-palette.png", optimize=True)
    moth("ECLW", 7, small).quantize(64).save(good / "eclw-palette-transparent.png", transparency=3)
    with_alpha(moth("AAW", 6, small), "RGBA").save(good / "aaw-alpha.png")
    with_alpha(moth("ECLW", 8), "RGBA").save(good / "eclw-alpha.webp", quality=80)
    deep = deepen(np.asarray(moth("AAW", 7, (200, 150)), np.uint16))
    (good / "aaw-16-bit.png").write_bytes(png(200, 150, 16, 2, deep.astype(">u2").reshape(150, -1).view(np.uint8)))
    cmyk(moth("FAW", 7)).save(good / "faw-cmyk.jpg", quality=90)


def grainy(image: Image.Image) -> Image.Image:
    """Adds noise like a camera's sensor, with a standard deviation of three levels."""
    levels = np.asarray(image, np.float32)
    noise = np.random.default_rng(SEED).normal(0, 3, levels.shape)
    return Image.fromarray((levels + noise).round().clip(0, 255).astype(np.uint8))


def odd_shapes(good: Path) -> None:
    moth("FAW", 8, (4000, 3000)).save(good / "faw-12-megapixels.jpg", quality=80)
    grainy(moth("AAW", 10, (2592, 1944))).save(good / "aaw-5-megapixels.jpg", quality=85)
    moth("ECLW", 9, (64, 48)).save(good / "eclw-small.png")
    Image.new("RGB", (1, 1), (140, 120, 90)).save(good / "one-pixel.png")
    moth("AAW", 8, (600, 600)).crop((290, 0, 310, 600)).save(good / "tall.png")
    moth("AAW", 9, (600, 600)).crop((0, 290, 600, 310)).save(good / "wide.jpg", quality=85)


def odd_names(good: Path) -> None:
    moth("FAW", 9).save(good / "fall armyworm + 100% café 蛾.jpg", quality=85)
    moth("ECLW", 10, (240, 180)).save(good / "png-named.jpg", format="PNG")


def bad_files(bad: Path) -> None:
    (bad / "text.jpg").write_text("not a picture, though its name says so\n")
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "page.png").write_text("<!DOCTYPE html>\n<title>403 Forbidden</title>\n")
    # The first box of a HEIC photo from an iPhone.
    (bad / "photo.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(64))
    moth("AAW", 10, (64, 48)).save(bad / "animation.gif")
    for name, options in (("truncated.jpg", {"format": "JPEG"}), ("truncated.png", {"format": "PNG"})):
        whole = io.BytesIO()
        moth("FAW", 10, (240, 180)).save(whole, **options)
        (bad / name).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    baseline = io.BytesIO()
    moth("FAW", 10, (240, 180)).save(baseline, format="JPEG")
    recoded = subprocess.run(["jpegtran", "-arithmetic"], input=baseline.getvalue(), capture_output=True, check=True)
    (bad / "arithmetic.jpg").write_bytes(recoded.stdout)
    # It would take 10.8 GB decoded. The function must reject it by its header, before it allocates memory.
    (bad / "60000x60000.png").write_bytes(png(60000, 60000, 8, 2, np.zeros((1, 300), np.uint8)))


def with_alpha(image: Image.Image, mode: str) -> Image.Image:
    """Adds a gradient of transparency. The reference drops alpha, so the class must not change."""
    ramp = np.linspace(0, 255, image.width).astype(np.uint8)
    image = image.convert(mode)
    image.putalpha(Image.fromarray(np.broadcast_to(ramp, (image.height, image.width)).copy()))
    return image


def deepen(pixels: np.ndarray) -> np.ndarray:
    """Converts 8-bit levels to 16 bits and fills the low byte too, as in a real 16-bit photo."""
    low = np.random.default_rng(SEED).integers(-100, 101, pixels.shape)
    return np.clip(pixels.astype(np.int32) * 257 + low, 0, 65535).astype(np.uint16)


def cmyk(image: Image.Image) -> Image.Image:
    """Converts to CMYK with a black plate, which Pillow's own conversion would leave empty."""
    pixels = np.asarray(image, np.float32)
    white = np.maximum(pixels.max(axis=2, keepdims=True), 1)
    plates = np.concatenate([255 - 255 * pixels / white, 255 - white], axis=2)
    return Image.frombytes("CMYK", image.size, plates.round().astype(np.uint8).tobytes())


def png(width: int, height: int, depth: int, colour: int, rows: np.ndarray) -> bytes:
    """Makes a PNG from raw rows, for forms that Pillow cannot write: 16-bit RGB, and a wrong size in the header."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    unfiltered = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(unfiltered, 9))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the test photos.")
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "test_images", help="folder to write to")
    out = parser.parse_args().out
    good, bad = out / "good", out / "bad"
    good.mkdir(parents=True, exist_ok=True)
    bad.mkdir(parents=True, exist_ok=True)
    for write in (plain, oriented, odd_pixels, odd_shapes, odd_names):
        write(good)
    bad_files(bad)
    files = [path for path in out.rglob("*") if path.is_file()]
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB in {out}")


if __name__ == "__main__":
    main()
