"""Draws what surrounds a moth: textures, backgrounds, debris, light, and the effects of a camera.

Images are float32 arrays (height, width, 3) with values 0–255. A `unit` is 1/280 of the image's shorter side, so that a
drawing looks the same at any size.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Rng = np.random.Generator


def noise(rng: Rng, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 3) -> np.ndarray:
    """Smooth random field in about -1..1, with `cells` bumps along height and width."""
    height, width = shape
    field = np.zeros(shape, np.float32)
    amplitude, total = 1.0, 0.0
    for octave in range(octaves):
        rows = min(height, max(2, round(cells[0] * 2**octave)))
        columns = min(width, max(2, round(cells[1] * 2**octave)))
        grid = rng.standard_normal((rows, columns), np.float32)
        field += amplitude * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
        total += amplitude**2
        amplitude *= 0.5
    return np.clip(field / (1.5 * math.sqrt(total)), -1.5, 1.5)


def tint(colour: tuple[float, float, float], value: np.ndarray) -> np.ndarray:
    return np.asarray(colour, np.float32) * value[..., None]


def mix(image: np.ndarray, colour: tuple[float, float, float] | np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Blends `colour` into `image` by `amount` (0..1, height × width)."""
    return image + (np.asarray(colour, np.float32) - image) * np.clip(amount, 0, 1)[..., None]


def wall(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    colour = [(214, 206, 192), (196, 196, 194), (222, 210, 178), (178, 168, 156), (200, 182, 160)][rng.integers(5)]
    grain = noise(rng, shape, (45, 45), 3)
    # Plaster seen under slanting light is the slope of its height.
    relief = np.gradient(grain, axis=int(rng.integers(2))) * shape[0] / 280
    stain = noise(rng, shape, (2, 2), 3)
    return tint(colour, 1 + rng.uniform(0.15, 0.4) * relief + 0.07 * stain + 0.02 * grain)


def sheet(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    colour = [(236, 236, 232), (222, 228, 240), (240, 232, 214)][rng.integers(3)]
    y, x = rotated_grid(shape, rng.uniform(0, math.pi))
    threads = rng.uniform(300, 420)
    weave = np.sin(x * threads) * np.sin(y * threads)
    fold = noise(rng, shape, (1.5, 1.5), 2)
    crease = np.exp(-((np.sin(x * rng.uniform(3, 7) + fold * 2) / 0.15) ** 2))
    return tint(colour, 0.94 + 0.025 * weave + 0.09 * fold - 0.06 * crease)


def leaf(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    colour = [(86, 128, 54), (112, 146, 66), (70, 108, 58), (142, 150, 78)][rng.integers(4)]
    along, across = rotated_grid(shape, rng.uniform(0, math.pi))
    across = across + rng.uniform(-0.4, 0.4) + 0.03 * noise(rng, shape, (2, 2), 1)
    if rng.random() < 0.6:  # maize: parallel veins
        veins = np.cos(across * rng.uniform(90, 130)) ** 16
    else:
        veins = np.cos((along - np.abs(across) * 0.8) * rng.uniform(18, 26)) ** 40
    midrib = np.exp(-((across / 0.022) ** 2))
    blotch = noise(rng, shape, (5, 5), 4)
    image = tint(colour, 1 + 0.13 * blotch - 0.25 * np.exp(-((across / 0.06) ** 2)))
    image = mix(image, (196, 206, 130), 0.22 * veins + 0.7 * midrib)
    return mix(image, (150, 118, 62), 0.8 * (noise(rng, shape, (9, 9), 2) - rng.uniform(0.6, 1.2)) * 3)


def bark(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    colour = [(122, 98, 76), (110, 102, 92), (142, 118, 88), (92, 76, 62)][rng.integers(4)]
    cells = (4, 26) if rng.random() < 0.5 else (26, 4)
    ridges = noise(rng, shape, cells, 4)
    cracks = np.clip(1 - np.abs(noise(rng, shape, (cells[0] * 0.7, cells[1] * 0.7), 3)) * 7, 0, 1)
    image = tint(colour, 1 + 0.26 * ridges + 0.1 * noise(rng, shape, (60, 60), 2))
    image = mix(image, (42, 34, 28), 0.65 * cracks)
    return mix(image, (138, 148, 118), 0.6 * (noise(rng, shape, (4, 4), 4) - 0.5) * 2)


BACKGROUNDS = (wall, sheet, leaf, bark)


def rotated_grid(shape: tuple[int, int], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotated coordinates with the origin in the image's centre. The shorter side has length 1."""
    height, width = shape
    side = min(shape)
    y = (np.arange(height, dtype=np.float32)[:, None] - height / 2) / side
    x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / side
    return math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x


def debris(rng: Rng, image: Image.Image, unit: float) -> None:
    """Draws specks, seeds and fibres around the moth."""
    pen = ImageDraw.Draw(image, "RGBA")
    for _ in range(rng.integers(0, 16)):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        radius = unit * rng.uniform(0.5, 2.2)
        shade = int(rng.integers(30, 190))
        colour = (shade, int(shade * 0.88), int(shade * 0.7), int(rng.integers(120, 255)))
        pen.ellipse((x - radius, y - radius * 0.7, x + radius, y + radius * 0.7), fill=colour)
    for _ in range(rng.integers(0, 4)):
        pen.line(
            curve(rng, image.size, unit * rng.uniform(12, 60)),
            width=max(1, round(unit)),
            fill=(int(rng.integers(40, 230)),) * 3 + (150,),
            joint="curve",
        )


def occlusion(rng: Rng, image: Image.Image, unit: float) -> Image.Image:
    """Draws a blade of grass or a twig in front of the moth, out of focus."""
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    colour = [(116, 140, 62), (150, 132, 84), (96, 76, 54)][rng.integers(3)]
    path = curve(rng, image.size, unit * rng.uniform(200, 420), rng.uniform(0.1, 0.32))
    ImageDraw.Draw(layer).line(path, width=max(2, round(unit * rng.uniform(3, 10))), fill=(*colour, 255), joint="curve")
    # The colour must extend beyond the blurred edge. Otherwise the blade gets a black rim.
    alpha = layer.getchannel("A").filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.4, 1.6)))
    image.paste(Image.new("RGB", image.size, colour), (0, 0), alpha)
    return image


def curve(rng: Rng, size: tuple[int, int], length: float, off_centre: float = 0.5) -> list[tuple[float, float]]:
    """Points of a slightly bent line. `off_centre` is the distance of its middle from the image's centre."""
    away = rng.uniform(0, 2 * math.pi)
    x = size[0] * (0.5 + off_centre * math.cos(away))
    y = size[1] * (0.5 + off_centre * math.sin(away))
    heading, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.5)
    steps = np.linspace(-0.5, 0.5, 12)
    return [
        (x + length * t * math.cos(heading + bend * t), y + length * t * math.sin(heading + bend * t)) for t in steps
    ]


def camera(rng: Rng, image: Image.Image, unit: float) -> Image.Image:
    """Applies lens blur, light from one side or a lamp, exposure, contrast and sensor noise."""
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(unit * rng.uniform(0.2, 1.1)))
    pixels = np.asarray(image, np.float32)
    y, x = rotated_grid(pixels.shape[:2], rng.uniform(0, 2 * math.pi))
    light = 1 + rng.uniform(0, 0.5) * x
    if rng.random() < 0.4:
        lamp = (x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.4, 0.4)) ** 2
        light = light * (0.7 + 0.5 * np.exp(-lamp / rng.uniform(0.15, 0.5)))
    light *= 1 - rng.uniform(0, 0.35) * (x**2 + y**2)
    warmth = rng.uniform(-0.09, 0.13)
    exposure = rng.uniform(0.7, 1.22) * np.asarray([1 + warmth, 1, 1 - warmth], np.float32)
    pixels = pixels * np.clip(light, 0.3, 1.5)[..., None] * exposure
    pixels = 128 + (pixels - 128) * rng.uniform(0.85, 1.15)
    # Noise falls with the square root of the scale, so that images of any size have the same noise when resized.
    grain = rng.standard_normal(pixels.shape[:2], np.float32) * rng.uniform(0.5, 7) / max(1, math.sqrt(unit))
    return Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))
