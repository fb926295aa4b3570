"""Tests of `deployments` and `export` over the embedded stack, with a record of every kind.

frictionless validates the Camtrap DP package.
"""

import csv
import functools
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from PIL import Image

import camtrap_dp
from serve import ROOT, Outcomes, serve

BUCKET = "moths"
TAXA = {"AAW": "Spodoptera exempta", "FAW": "Spodoptera frugiperda"}
# Names of spreadsheet formulas, and paths that Camtrap DP forbids.
FORMULA = "=HYPERLINK(1).jpg"
DOTS = "north/-a..b,c?d.PNG"
# A night of this year: the function does not believe clocks that are far from the upload.
NIGHT = datetime.now(UTC).date() - timedelta(days=30)
MORNING = NIGHT + timedelta(days=1)
RELABELLED = f"field-1/cam-7/IMG_{NIGHT:%Y%m%d}_235800.jpg"
# Key: colour, metadata and verdict. Grey is UNKNOWN to the model.
PHOTOS = {
    FORMULA: ("blue", {"station": "field-1"}, []),
    RELABELLED: ("red", {}, ["--class", "FAW"]),
    "field-1/confirmed.jpg": ("blue", {}, ["--confirm"]),
    "field-1/unknown.jpg": ("gray", {}, []),
    "field-1/told.webp": ("gray", {}, ["--class", "AAW"]),
    "field-1/cannot-tell.jpg": ("blue", {}, ["--unknown"]),
    DOTS: ("lime", {"captured-at": f"{MORNING}T00:03:00.5+01:00"}, ["--not-a-moth"]),
    "north/doubtful.jpg": ("lime", {"captured-at": "2001-01-01T00:00:00Z"}, []),
    "north/beetle": ("red", {}, ["--class", "=Beetle", "--new-class"]),
}
REVIEWER = "@Ada"
DEPLOYMENTS = """\
deploymentID,locationID,cameraID,latitude,longitude,deploymentStart,deploymentEnd,timeZone,clockOffsetSeconds
f1,field-1,,6.4541,-3.3947,2020-01-01T12:00:00Z,2100-01-01T12:00:00Z,Africa/Lagos,0
f1-cam-7,field-1,cam-7,6.4541,-3.3947,2020-01-01T12:00:00+0100,2100-01-01T12:00:00+0100,,
n1,north,,7.5,4.25,2020-01-01T12:00:00Z,2100-01-01T12:00:00Z,,
n0,north,,7.5,4.25,2019-01-01T12:00:00Z,2019-12-01T12:00:00Z,,
s1,south,,8,5,2020-01-01T12:00:00Z,2100-01-01T12:00:00Z,,
"""


@dataclass(frozen=True)
class Project:
    """A data folder in which every photo has its record."""

    run: Callable[..., subprocess.CompletedProcess]
    # Keys of the photos by their id.
    keys: dict[str, str]
    # The answer to an export without deployments table.
    too_early: subprocess.CompletedProcess
    folder: Path

    def export(self, form: str, name: str, *options: str) -> Path:
        file = self.folder / name
        self.run("export", "--format", form, "--out", str(file), *options)
        return file


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    model, data = folder / "model", folder / "data"
    shutil.copytree(ROOT / "tests/color_model", model)
    manifest = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(manifest | {"taxa": TAXA}))
    variables = {"MODEL_DIR": str(model), "UNKNOWN_BELOW": "0.9"}

    def run(command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [os.environ["CLASSIFIER_BIN"], *command.split(), *arguments, "--data", str(data)],
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    with serve("--json", "--data", str(data), **variables) as served:
        outcomes = Outcomes(served.process.stdout)
        outcomes.wait_for(upload(served))
    *listed, cursor = map(json.loads, run("records", "--json", "--by", "date").stdout.splitlines())
    assert cursor == {"nextCursor": None}
    keys = {record["id"]: record["key"] for record in listed}
    assert sorted(keys.values()) == sorted(PHOTOS)
    for photo, key in keys.items():
        if verdict := PHOTOS[key][2]:
            run("review", photo, *verdict, "--by", REVIEWER)
    early = ["--format", "camtrap-dp", "--out", str(folder / "early.zip")]
    too_early = run("export", *early, check=False)
    table = folder / "deployments.csv"
    table.write_text(DEPLOYMENTS)
    run("deployments import", str(table), "--by", REVIEWER)
    return Project(run, keys, too_early, folder)


def upload(served) -> list[tuple[str, str]]:
    """Uploads the photos. Returns key and version of each."""
    variables = served.variables
    client = boto3.client(
        "s3",
        endpoint_url=served.endpoints["S3"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    versions = []
    for key, (color, metadata, _) in PHOTOS.items():
        file = io.BytesIO()
        Image.new("RGB", (64, 48), color).save(file, "JPEG")
        put = client.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue(), Metadata=metadata)
        versions.append((key, put["VersionId"]))
    return versions


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.fixture(scope="module")
def package(project) -> Callable[[], Path]:
    """The folder with the files of a Camtrap DP package."""
    licences = ["--data-licence", "CC0-1.0", "--media-licence", "CC-BY-4.0"]
    zipped = project.export("camtrap-dp", "package.zip", "--title", "Armyworms", "--contact", "Ada", *licences)
    folder = project.folder / "package"
    camtrap_dp.extract(zipped, folder)
    return folder


@functools.cache
def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return rows(file.read())


def test_a_package_is_valid(package):
    assert camtrap_dp.errors(package) == []


@pytest.mark.parametrize(
    ("file", "valid", "invalid", "error"),
    [
        ("media.csv", ",f1-cam-7,", ",f2,", "foreign-key"),
        ("media.csv", ".%2E", "..", "constraint-error"),
        ("media.csv", "+01:00", "", "type-error"),
        ("deployments.csv", ",7.5,", ",97.5,", "constraint-error"),
        ("observations.csv", ",blank,", ",no moth,", "constraint-error"),
        ("observations.csv", "-human", "-machine", "unique-error"),
        ("observations.csv", "bboxX", "x", "incorrect-label"),
        ("datapackage.json", "targeted", "aimed", "package-error"),
    ],
)
def test_an_invalid_package_is_found(package, tmp_path, file, valid, invalid, error):
    folder = tmp_path / "package"
    shutil.copytree(package, folder)
    text = (folder / file).read_text("utf-8")
    assert valid in text
    (folder / file).write_text(text.replace(valid, invalid), "utf-8")
    assert any(error in found for found in camtrap_dp.errors(folder))


def test_a_package_has_an_observation_of_model_and_reviewer(project, package):
    media = {row["mediaID"]: row for row in table(package, "media")}
    assert media.keys() == project.keys.keys()
    columns = ("deploymentID", "classificationMethod", "observationType", "scientificName")
    found = {}
    for row in table(package, "observations"):
        key = project.keys[row["mediaID"]]
        found.setdefault(key, []).append(tuple(row[column] for column in columns))
        timestamp = media[row["mediaID"]]["timestamp"]
        assert row["eventStart"] == row["eventEnd"] == timestamp
        is_machine = row["classificationMethod"] == "machine"
        assert bool(row["classificationProbability"]) == is_machine
        assert row["classifiedBy"].startswith("moth-classifier, model " if is_machine else "'@Ada")
    faw, aaw, beetle = TAXA["FAW"], TAXA["AAW"], "'=Beetle"
    assert found == {
        FORMULA: [("f1", "machine", "animal", faw)],
        RELABELLED: [
            ("f1-cam-7", "machine", "animal", aaw),
            ("f1-cam-7", "human", "animal", faw),
        ],
        "field-1/confirmed.jpg": [("f1", "machine", "animal", faw), ("f1", "human", "animal", faw)],
        "field-1/unknown.jpg": [("f1", "machine", "unknown", "")],
        "field-1/told.webp": [("f1", "machine", "unknown", ""), ("f1", "human", "animal", aaw)],
        "field-1/cannot-tell.jpg": [("f1", "machine", "animal", faw), ("f1", "human", "unknown", "")],
        DOTS: [("n1", "machine", "animal", "ECLW"), ("n1", "human", "blank", "")],
        "north/doubtful.jpg": [("n1", "machine", "animal", "ECLW")],
        "north/beetle": [("n1", "machine", "animal", aaw), ("n1", "human", "animal", beetle)],
    }
    described = json.loads((package / "datapackage.json").read_text("utf-8"))
    assert {taxon["scientificName"] for taxon in described["taxonomic"]} == {faw, aaw, beetle, "ECLW"}
    assert described["title"] == "Armyworms"
    assert described["temporal"] == {"start": "2019-01-01", "end": "2100-01-01"}


def test_a_package_names_photos_and_their_times(project, package):
    media = {project.keys[row["mediaID"]]: row for row in table(package, "media")}
    for key, row in media.items():
        uri = urlsplit(row["filePath"])
        assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("s3", BUCKET, f"/{key}")
        assert parse_qs(uri.query).keys() == {"versionId"}
        assert row["fileName"].lstrip("'") == key.split("/")[-1]
    dots = media[DOTS]
    assert (dots["timestamp"], dots["fileMediatype"]) == (f"{MORNING}T00:03:00+01:00", "image/png")
    assert media[FORMULA]["fileName"] == "'=HYPERLINK(1).jpg"
    assert media["north/beetle"]["fileMediatype"] == "image/*"
    assert "ancient" in media["north/doubtful.jpg"]["mediaComments"]
    (event,) = {row["eventID"] for row in table(package, "observations") if project.keys[row["mediaID"]] == DOTS}
    assert event == f"north/{NIGHT}"


def test_a_package_has_the_deployments_of_its_stations(package):
    deployments = table(package, "deployments")
    assert [row["deploymentID"] for row in deployments] == ["f1", "f1-cam-7", "n1", "n0"]
    assert deployments[1]["deploymentStart"] == "2020-01-01T12:00:00+01:00"


def test_a_package_without_deployment_is_not_written(project):
    done = project.too_early
    assert done.returncode == 1
    for part in ("no deployment covers", "of station field-1", "of station north", "camera cam-7"):
        assert part in done.stderr
    assert not (project.folder / "early.zip").exists()


def test_a_table_opens_unharmed(project):
    content = project.export("csv", "records.csv").read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") == len(PHOTOS) + 1
    records = {project.keys[row["id"]]: row for row in rows(content.decode("utf-8"))}
    assert records.keys() == PHOTOS.keys()
    for key, row in records.items():
        formulas = {name: cell for name, cell in row.items() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))}
        assert not formulas
        assert row["key"] == (f"'{key}" if key == FORMULA else key)
    relabelled = records[RELABELLED]
    assert relabelled["class_name"] == "FAW" and relabelled["predicted_class_name"] == "AAW"
    assert relabelled["scientific_name"] == TAXA["FAW"]
    assert (relabelled["review_status"], relabelled["reviewed_by"]) == ("relabelled", "'@Ada")
    assert (relabelled["station"], relabelled["camera"], relabelled["night"]) == ("field-1", "cam-7", str(NIGHT))
    assert records["north/beetle"]["class_name"] == "'=Beetle"
    assert records["north/doubtful.jpg"]["capture_doubt"] == "ancient"
    unknown = records["field-1/unknown.jpg"]
    assert unknown["class_name"] == "UNKNOWN" and unknown["predicted_class_name"] in ("AAW", "ECLW", "FAW")


def test_training_data_are_reviewed_photos_with_a_label(project):
    lines = project.export("training", "training.jsonl").read_text("utf-8").splitlines()
    labels = {unquote(urlsplit(line["uri"]).path[1:]): line for line in map(json.loads, lines)}
    assert {key: line["label"] for key, line in labels.items()} == {
        RELABELLED: "FAW",
        "field-1/confirmed.jpg": "FAW",
        "field-1/told.webp": "AAW",
        DOTS: "NOT_A_MOTH",
        "north/beetle": "=Beetle",
    }
    assert labels[DOTS]["station"] == "north" and labels[DOTS]["night"] == str(NIGHT)
    assert labels[DOTS]["predicted"] == "ECLW"


def test_deployments_come_out_as_they_came_in(project):
    exported = project.run("deployments export").stdout
    columns = DEPLOYMENTS.splitlines()[0].split(",")
    assert [[row[column] for column in columns] for row in rows(exported)] == [
        row.split(",") for row in DEPLOYMENTS.splitlines()[1:]
    ]
    wrong = project.folder / "wrong.csv"
    wrong.write_text(DEPLOYMENTS.replace("7.5,4.25,2020", "97.5,4.25,2020"))
    done = project.run("deployments import", str(wrong), "--by", REVIEWER, check=False)
    assert done.returncode == 1
    assert 'line 4, latitude: "97.5" is not a number from -90 to 90' in done.stderr
    assert project.run("deployments export").stdout == exported
