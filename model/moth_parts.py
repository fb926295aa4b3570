"""Paints a moth's wings and body, each flat and in its own coordinates. draw_moths.py places them."""

import numpy as np
from PIL import Image, ImageDraw

from draw_scene import Rng, mix, noise, tint

# Outlines in wing coordinates: u runs along the costa (leading edge, length 1) from the
# shoulder to the tip, v from the costa towards the trailing edge.
FOREWING = [
    (-0.02, 0.0),
    (0.12, -0.035),
    (0.5, -0.05),
    (0.85, -0.035),
    (1.01, 0.02),
    (1.0, 0.12),
    (0.95, 0.24),
    (0.87, 0.34),
    (0.75, 0.385),
    (0.42, 0.29),
    (0.1, 0.15),
    (-0.02, 0.08),
]
HINDWING = [
    (-0.02, 0.0),
    (0.3, -0.05),
    (0.62, -0.02),
    (0.76, 0.1),
    (0.74, 0.26),
    (0.6, 0.42),
    (0.4, 0.52),
    (0.22, 0.5),
    (0.06, 0.3),
    (-0.02, 0.12),
]
WING_BOX = (-0.06, -0.1, 1.06, 0.58)
BODY_BOX = (-0.24, -0.34, 0.24, 0.92)


def grid(box: tuple[float, ...], density: float) -> tuple[np.ndarray, np.ndarray]:
    width, height = round((box[2] - box[0]) * density), round((box[3] - box[1]) * density)
    u = np.linspace(box[0], box[2], width, dtype=np.float32)[None, :]
    v = np.linspace(box[1], box[3], height, dtype=np.float32)[:, None]
    return np.broadcast_to(u, (height, width)), np.broadcast_to(v, (height, width))


def outline(points: list[tuple[float, float]], box: tuple[float, ...], shape: tuple[int, int]) -> Image.Image:
    """Anti-aliased mask of the area within a smooth outline."""
    corners = np.array(points)
    for _ in range(3):  # Chaikin's corner cutting
        following = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], 1).reshape(-1, 2)
    oversample = 3
    height, width = shape
    scale = oversample * width / (box[2] - box[0])
    mask = Image.new("L", (width * oversample, height * oversample))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (corners - np.array(box[:2])) * scale], fill=255)
    return mask.reduce(oversample)


def stroke(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((distance / width) ** 2))


def vein_rays(u: np.ndarray, v: np.ndarray, count: int, width: float) -> np.ndarray:
    """Veins that fan out from the shoulder to the outer margin."""
    slopes = v / np.maximum(u + 0.12, 0.05)
    spacing = 0.42 / count
    nearest = (slopes / spacing - np.round(slopes / spacing)) * spacing
    return stroke(nearest * (u + 0.12), width) * np.clip((u - 0.12) * 6, 0, 1)


BODY = {"AAW": (122, 106, 92), "ECLW": (138, 104, 70), "FAW": (128, 112, 96)}
GROUND = {"AAW": (124, 108, 92), "ECLW": (102, 70, 44), "FAW": (112, 98, 84)}


def palette(label: str, rng: Rng) -> dict[str, float | tuple[float, ...]]:
    """Colours and measures that both forewings of a moth share."""
    ground = np.array(GROUND[label]) * rng.uniform(0.82, 1.2) + rng.normal(0, 2.5, 3)
    return {
        "ground": tuple(ground),
        "antemedial": rng.uniform(0.26, 0.34),
        "postmedial": rng.uniform(0.64, 0.72),
        "width": rng.uniform(0.85, 1.3),
        "waves": rng.uniform(38, 60),
        "mark": rng.uniform(0.85, 1.15),
    }


def paint_forewing(label: str, rng: Rng, density: float, style: dict) -> Image.Image:
    u, v = grid(WING_BOX, density)
    shape = u.shape
    mottle = noise(rng, shape, (7, 11), 3)
    scales = noise(rng, shape, (70, 110), 1)
    distal = u + 0.5 * v  # constant along lines parallel to the outer margin
    wavy = distal + 0.011 * np.sin(v * style["waves"]) + 0.006 * mottle
    width = style["width"]
    rough = 0.3 if label == "FAW" else 0.1
    wing = tint(style["ground"], 1 + rough * mottle + 0.08 * scales - 0.12 * np.cos(v * 14))
    paint = {"AAW": paint_aaw, "ECLW": paint_eclw, "FAW": paint_faw}[label]
    wing = paint(wing, u, v, wavy, mottle, style)
    # All noctuids have a row of dark dots and a fringe along the outer margin.
    dots = stroke(distal - 0.965, 0.012) * (0.5 + 0.5 * np.cos(v * 105))
    wing = mix(wing, (40, 32, 28), 0.7 * dots)
    wing = mix(wing, (150, 134, 116), 0.5 * stroke(distal - 1.0, 0.012 * width))
    wing *= (1 + 0.1 * scales)[..., None]
    return cut_out(rng, wing, FOREWING, u, v, torn=0.3)


def paint_aaw(wing, u, v, wavy, mottle, style) -> np.ndarray:
    width = 0.0105 * style["width"]
    pale = (214, 200, 178)
    wing = mix(wing, (70, 58, 50), 0.28 * stroke(wavy - 0.5, 0.09))
    for at, amount in ((style["antemedial"], 0.75), (style["postmedial"], 0.85), (0.86, 0.7)):
        wing = mix(wing, (66, 54, 46), 0.5 * stroke(wavy - at + 0.022, width * 1.6))
        wing = mix(wing, pale, amount * stroke(wavy - at, width))
    wing = mix(wing, pale, 0.42 * vein_rays(u, v, 7, 0.0065 * style["width"]))
    for centre, radius in (((0.42, 0.1), 0.032), ((0.56, 0.12), 0.046)):
        away = np.hypot((u - centre[0]) * 0.9, v - centre[1])
        wing = mix(wing, (84, 70, 60), 0.6 * stroke(away, radius * 0.8))
        wing = mix(wing, pale, 0.55 * stroke(away - radius, 0.008))
    return wing


def paint_eclw(wing, u, v, wavy, mottle, style) -> np.ndarray:
    width = 0.0135 * style["width"]
    cream = (238, 222, 184)
    wing = mix(wing, (128, 124, 132), 0.6 * stroke(wavy - 0.79, 0.06))  # blue-grey band before the margin
    wing = mix(wing, (62, 40, 26), 0.5 * np.clip(mottle, 0, 1))
    wing = mix(wing, cream, 0.9 * vein_rays(u, v, 6, 0.010 * style["width"]))
    for at in (style["antemedial"], style["antemedial"] + 0.05, style["postmedial"], style["postmedial"] + 0.05, 0.89):
        wing = mix(wing, cream, 0.92 * stroke(wavy - at, width))
    # Oblique lines from the costa cross the veins and form the lattice.
    for at in (0.40, 0.50):
        wing = mix(wing, cream, 0.9 * stroke((u - at) * 0.8 - v * 0.75 * style["mark"], width))
    return wing


def paint_faw(wing, u, v, wavy, mottle, style) -> np.ndarray:
    wing = mix(wing, (58, 48, 42), 0.7 * np.clip(mottle * 1.2, 0, 1))
    wing = mix(wing, (168, 154, 136), 0.5 * np.clip(-mottle * 1.3 - 0.1, 0, 1))
    for at in (style["antemedial"], style["postmedial"] + 0.04):
        wing = mix(wing, (52, 42, 38), 0.5 * stroke(wavy - at, 0.016))
    # Pale oblique mark from the costa into the middle of the wing.
    along, across = (u - 0.47) * 0.8 + (v - 0.1) * 0.6, (v - 0.1) * 0.8 - (u - 0.47) * 0.6
    mark = stroke(along, 0.115 * style["mark"]) * stroke(across, 0.032 * style["mark"])
    wing = mix(wing, (38, 30, 28), 0.7 * stroke(along, 0.14) * stroke(across - 0.06, 0.03))
    wing = mix(wing, (226, 206, 166), 1.25 * mark)
    tip = np.hypot((u - 0.94) * 0.75, v - 0.03) + 0.012 * mottle
    wing = mix(wing, (46, 38, 34), 0.6 * stroke(tip - 0.15, 0.04))
    return mix(wing, (244, 240, 232), 1.15 * np.clip((0.105 * style["mark"] - tip) * 30, 0, 1))


def paint_hindwing(rng: Rng, density: float, tone: tuple[float, ...]) -> Image.Image:
    u, v = grid(WING_BOX, density)
    reach = np.hypot(u, v)
    wing = tint((214, 206, 194), 1 + 0.07 * noise(rng, u.shape, (6, 6), 2))
    angle = np.arctan2(v, u + 0.1)
    veins = stroke((np.sin(angle * 9)) * reach / 9, 0.006)
    wing = mix(wing, tone, 0.55 * veins)
    wing = mix(wing, np.array(tone) * 0.75, np.clip((reach - 0.5) * 3.2, 0, 0.75))
    wing = mix(wing, (226, 216, 200), 0.7 * stroke(reach - 0.77, 0.02))
    return cut_out(rng, wing, HINDWING, u, v, torn=0.2)


def cut_out(
    rng: Rng, wing: np.ndarray, points: list[tuple[float, float]], u: np.ndarray, v: np.ndarray, torn: float
) -> Image.Image:
    points = [(x + rng.normal(0, 0.008), y + rng.normal(0, 0.008)) for x, y in points]
    alpha = np.asarray(outline(points, WING_BOX, u.shape), np.float32)
    if rng.random() < torn:
        # Scales and shreds are missing along the outer edge.
        wear = noise(rng, u.shape, (14, 18), 2) + 6 * (u + 0.5 * v - 1.12)
        alpha = alpha * np.clip(1 - wear * 6, 0, 1)
    part = Image.fromarray(np.clip(wing, 0, 255).astype(np.uint8)).convert("RGBA")
    part.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return part


def paint_body(rng: Rng, density: float, tone: tuple[float, ...]) -> Image.Image:
    x, y = grid(BODY_BOX, density)
    fur = noise(rng, x.shape, (90, 18), 2)
    stout = rng.uniform(0.9, 1.15)
    abdomen = 0.088 * stout * np.sqrt(np.clip(1 - ((y - 0.3) / 0.42) ** 2, 0, 1)) * (1 - 0.25 * y)
    thorax = 0.118 * stout * np.sqrt(np.clip(1 - ((y + 0.03) / 0.18) ** 2, 0, 1))
    head = 0.062 * stout * np.sqrt(np.clip(1 - ((y + 0.225) / 0.062) ** 2, 0, 1))
    radius = np.maximum(np.maximum(abdomen, thorax), head)
    across = np.abs(x) / np.maximum(radius, 1e-3)
    rounded = np.sqrt(np.clip(1 - across**2, 0, 1))
    body = tint(tone, 0.5 + 0.6 * rounded + 0.14 * fur)
    segments = np.cos((y - 0.16) * 68) * (y > 0.16)
    body = mix(body, np.array(tone) * 0.5, 0.45 * np.clip(segments, 0, 1))
    # Collar, and the two tufts of the thorax.
    body = mix(body, np.array(tone) * 0.45, 0.6 * stroke(y + 0.165, 0.014))
    tufts = stroke(np.abs(x) - 0.055, 0.02) * (np.abs(y) < 0.12)
    body = mix(body, np.minimum(np.array(tone) * 1.35, 255), 0.45 * tufts)
    eyes = np.hypot(np.abs(x) - 0.048 * stout, y + 0.235)
    body = mix(body, (26, 20, 18), np.clip((0.021 - eyes) * 140, 0, 1))
    alpha = np.clip((radius * (1 + 0.1 * fur) - np.abs(x)) * density, 0, 1)
    part = Image.fromarray(np.clip(body, 0, 255).astype(np.uint8)).convert("RGBA")
    part.putalpha(Image.fromarray((alpha * 255).astype(np.uint8)))
    return part
