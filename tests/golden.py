"""Writes the reference results for all good test photos: tests/golden.json and tests/resized/.

The reference decodes, rotates and resizes with Pillow, and classifies with the TensorFlow SavedModel. The Rust
function must predict the same class, with probabilities within 0.02. Its resized images may differ by at most 2 levels
from those in tests/resized/.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "model"))

from export import probabilities
from preprocess import to_tensor, upright_rgb
from saved_model import ModelError, open_classifier

# Photos that are scaled down, scaled up, and scaled down in one direction and up in the other.
RESIZED = ("faw-12-megapixels.jpg", "aaw-5-megapixels.jpg", "eclw-small.png", "tall.png", "aaw.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the reference results for the test photos.")
    parser.add_argument("saved_model", type=Path, help="SavedModel from which MODEL/model.onnx was exported")
    parser.add_argument("--model", type=Path, default=ROOT / "model", help="folder with model.json (default model/)")
    parser.add_argument("--images", type=Path, default=ROOT / "test_images" / "good", help="folder with photos")
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden.json", help="file to write")
    parser.add_argument("--dump", type=Path, help="also write every resized image to this folder, for debugging")
    arguments = parser.parse_args()
    try:
        manifest = json.loads((arguments.model / "model.json").read_text())
        golden = classify_all(arguments, manifest)
    except (ModelError, OSError, ValueError) as error:
        print(f"golden: {error}", file=sys.stderr)
        sys.exit(2)
    # The hash shows whether the file belongs to the current model.
    content = {"modelSha256": manifest["sha256"], "images": golden}
    arguments.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"{len(golden)} photos in {arguments.out}")


def classify_all(arguments: argparse.Namespace, manifest: dict) -> dict:
    golden, image = {}, manifest["input"]
    resized_folder = arguments.out.parent / "resized"
    side = image["width"] if image["width"] == image["height"] else None
    with open_classifier(arguments.saved_model, manifest["source"]["signature"], side) as classifier:
        for path in sorted(p for p in arguments.images.iterdir() if p.is_file()):
            resized = upright_rgb(path).resize((image["width"], image["height"]), Image.Resampling.BICUBIC)
            if arguments.dump:
                save(resized, arguments.dump / f"{path.name}.png")
            if path.name in RESIZED:
                save(resized, resized_folder / f"{path.name}.png")
            tensor = to_tensor(np.asarray(resized)[None], manifest["preprocess"], image["layout"])
            scores = probabilities(classifier(tensor), manifest["output"]["kind"])[0]
            found = dict(zip(manifest["labels"], (round(float(score), 6) for score in scores), strict=True))
            golden[path.name] = {"className": max(found, key=found.get), "probabilities": found}
    return golden


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)


if __name__ == "__main__":
    main()
