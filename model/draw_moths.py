"""Draws moths of three species. The same seed, split and index always make the same drawing.

The drawings have the features by which the species differ: AAW has grey-brown forewings with fine pale lines, ECLW has
cream lines that cross in a lattice over brown, and FAW has mottled grey-brown forewings with a pale oblique mark and a
white patch at the wing tip. moth_parts.py paints wings and bodies. draw_scene.py paints the background, the debris and
the light.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from draw_scene import BACKGROUNDS, Rng, camera, debris, occlusion
from moth_parts import BODY, BODY_BOX, WING_BOX, paint_body, paint_forewing, paint_hindwing, palette

LABELS = ("AAW", "ECLW", "FAW")
# The split is part of the random seed, so no drawing is in two splits.
SPLITS = {"train": 0, "test": 1, "gallery": 2}


def drawing(seed: int, split: str, index: int, size: tuple[int, int] = (280, 280)) -> tuple[Image.Image, str]:
    label = LABELS[index % len(LABELS)]
    return draw(label, np.random.default_rng([seed, SPLITS[split], index]), size), label


def draw(label: str, rng: Rng, size: tuple[int, int] = (280, 280)) -> Image.Image:
    width, height = size
    unit = min(size) / 280
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))](rng, (height, width))
    image = Image.fromarray(np.clip(background, 0, 255).astype(np.uint8))
    debris(rng, image, unit)
    moth = render_moth(label, rng, min(size) * rng.uniform(0.36, 0.47))
    left = round((width - moth.width) / 2 + rng.uniform(-0.07, 0.07) * width)
    top = round((height - moth.height) / 2 + rng.uniform(-0.07, 0.07) * height)
    cast_shadow(rng, image, moth.getchannel("A"), (left, top), unit)
    image.paste(moth, (left, top), moth)
    if rng.random() < 0.25:
        image = occlusion(rng, image, unit)
    return camera(rng, image, unit)


def cast_shadow(rng: Rng, image: Image.Image, alpha: Image.Image, at: tuple[int, int], unit: float) -> None:
    away, angle = unit * rng.uniform(2, 9), rng.uniform(0, 2 * math.pi)
    strength = rng.uniform(0.25, 0.6)
    soft = alpha.filter(ImageFilter.GaussianBlur(unit * rng.uniform(1.5, 5))).point(lambda a: a * strength)
    offset = (at[0] + round(away * math.cos(angle)), at[1] + round(away * math.sin(angle)))
    image.paste(Image.new("RGB", alpha.size, (22, 18, 16)), offset, soft)


def render_moth(label: str, rng: Rng, wing: float) -> Image.Image:
    """Draws the moth on a transparent square. `wing` is the forewing's length in pixels."""
    side = round(wing * 2.5)
    moth = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    turn = rng.uniform(0, 2 * math.pi)
    squash = rng.uniform(0.82, 1.0)
    tilt = rng.uniform(0, math.pi)
    lean = rotation(tilt) @ np.diag([1.0, squash]) @ rotation(-tilt)
    pose = np.array([[side / 2], [side / 2]]), wing * lean @ rotation(turn)
    # 0: at rest, forewings folded back over the body. 1: spread like a pinned specimen.
    spread = rng.uniform(0, 0.35) if rng.random() < 0.45 else rng.uniform(0.5, 1.0)
    fore_angle = math.radians(62 - 88 * spread) + rng.uniform(-0.06, 0.06)
    hind_angle = math.radians(66 - 50 * spread)
    density = wing * 1.25
    tone = tuple(np.clip(np.array(BODY[label]) * rng.uniform(0.85, 1.15), 0, 255))

    draw_limbs(rng, moth, pose, wing, tone)
    sides = [1, -1] if rng.random() < 0.5 else [-1, 1]
    for mirror in sides:
        hindwing = paint_hindwing(rng, density, tone)
        place(moth, hindwing, WING_BOX, pose, mirror, hind_angle + rng.normal(0, 0.03), (0.05, 0.08), wing)
    body = paint_body(rng, density, tone)
    place(moth, body, BODY_BOX, pose, 1, 0, (0, 0), wing)
    style = palette(label, rng)
    for mirror in sides:
        forewing = paint_forewing(label, rng, density, style)
        place(moth, forewing, WING_BOX, pose, mirror, fore_angle + rng.normal(0, 0.03), (0.055, -0.06), wing)
    # Only thorax and head are above the forewings.
    edge = round(body.height * (0.16 - BODY_BOX[1]) / (BODY_BOX[3] - BODY_BOX[1]))
    front = body.copy()
    front.paste((0, 0, 0, 0), (0, edge, body.width, body.height))
    place(moth, front, BODY_BOX, pose, 1, 0, (0, 0), wing)
    return moth


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def place(
    moth: Image.Image,
    part: Image.Image,
    box: tuple[float, ...],
    pose: tuple[np.ndarray, np.ndarray],
    mirror: int,
    angle: float,
    joint: tuple[float, float],
    wing: float,
) -> None:
    """Composites `part` onto `moth` with a soft edge shadow. `box` is the extent of `part` in its own coordinates."""
    centre, linear = pose
    matrix = linear @ np.diag([mirror, 1]) @ rotation(angle)
    origin = centre + linear @ np.diag([mirror, 1]) @ np.array([[joint[0]], [joint[1]]])
    inverse = np.linalg.inv(matrix)
    scale = part.width / (box[2] - box[0])
    a = inverse * scale
    b = -(a @ origin) - np.array([[box[0]], [box[1]]]) * scale
    layer = part.transform(
        moth.size,
        Image.Transform.AFFINE,
        (a[0, 0], a[0, 1], b[0, 0], a[1, 0], a[1, 1], b[1, 0]),
        Image.Resampling.BICUBIC,
    )
    below = layer.getchannel("A").filter(ImageFilter.BoxBlur(wing * 0.02)).point(lambda v: v * 0.45)
    dark = Image.new("RGBA", moth.size, (14, 10, 8, 0))
    dark.putalpha(Image.fromarray(np.minimum(np.asarray(below), np.asarray(moth.getchannel("A")))))
    moth.alpha_composite(dark)
    moth.alpha_composite(layer)


def draw_limbs(rng: Rng, moth: Image.Image, pose: tuple, wing: float, tone: tuple[float, ...]) -> None:
    """Draws the antennae, and the legs that are visible beside the body."""
    oversample = 3 if wing < 400 else 1
    layer = Image.new("L", (moth.width * oversample, moth.height * oversample))
    pen = ImageDraw.Draw(layer)
    opening = rng.uniform(0.2, 0.75)

    def limb(points: list[tuple[float, float]], thickness: float) -> None:
        path = (pose[0] + pose[1] @ np.array(points).T).T * oversample
        pen.line([tuple(p) for p in path], fill=255, width=max(1, round(thickness * wing * oversample)), joint="curve")

    for side in (1, -1):
        t = np.linspace(0, 1, 14)
        bend = opening + rng.normal(0, 0.06)
        x = side * (0.03 + 0.42 * t * math.sin(bend) + 0.1 * t**2)
        limb(list(zip(x, -0.25 - 0.42 * t * math.cos(bend) + 0.05 * t**2, strict=True)), 0.012)
        reach = rng.uniform(0.16, 0.3)
        limb([(side * 0.06, -0.14), (side * reach, -0.2), (side * (reach + 0.04), -0.36)], 0.016)
    colour = tuple(int(c * 0.55) for c in tone)
    moth.paste(Image.new("RGBA", moth.size, (*colour, 255)), (0, 0), layer.reduce(oversample))


def contact_sheet(seed: int, columns: int = 6, side: int = 200) -> Image.Image:
    """One image with a row of gallery drawings for each class, in the order of LABELS."""
    sheet = Image.new("RGB", (columns * side, len(LABELS) * side))
    for index in range(columns * len(LABELS)):
        image, label = drawing(seed, "gallery", index)
        corner = (index // len(LABELS) * side, LABELS.index(label) * side)
        sheet.paste(image.resize((side, side), Image.Resampling.BICUBIC), corner)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw moths into one folder per class.")
    parser.add_argument("out", type=Path, help="folder to write to, or the file with --sheet")
    parser.add_argument("--count", type=int, default=30, help="number of drawings (default 30)")
    parser.add_argument("--size", type=int, default=280, help="side in pixels (default 280)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the drawings (default 1)")
    parser.add_argument("--split", choices=SPLITS, default="gallery", help="split to draw from (default gallery)")
    parser.add_argument("--sheet", action="store_true", help="write one image with a row of drawings per class")
    arguments = parser.parse_args()
    if arguments.sheet:
        contact_sheet(arguments.seed).save(arguments.out, quality=85)
        return
    for index in range(arguments.count):
        image, label = drawing(arguments.seed, arguments.split, index, (arguments.size, arguments.size))
        folder = arguments.out / label
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{index:05d}.png")


if __name__ == "__main__":
    main()
