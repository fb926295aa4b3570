"""Validates packages of Camtrap DP 1.0.2 with frictionless, without network.

The standard's profile and table schemas are on the web. This module states their rules: names, order, types and
constraints of the columns, keys, and the required properties of datapackage.json.
"""

import json
import zipfile
from pathlib import Path

import frictionless

STANDARD = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"

REQUIRED = {"required": True}
UNIQUE = {"required": True, "unique": True}
NOT_NEGATIVE = {"minimum": 0}
FRACTION = {"minimum": 0, "maximum": 1}
SIDE = {"minimum": 1e-15, "maximum": 1}
ANGLE = {"minimum": -90, "maximum": 90}


def one_of(*words: str, required: bool = False) -> dict:
    return {"enum": list(words), "required": required}


# Columns by table: name, type and constraints.
TABLES = {
    "deployments": [
        ("deploymentID", "string", UNIQUE),
        ("locationID", "string", {}),
        ("locationName", "string", {}),
        ("latitude", "number", REQUIRED | ANGLE),
        ("longitude", "number", REQUIRED | {"minimum": -180, "maximum": 180}),
        ("coordinateUncertainty", "integer", {"minimum": 1}),
        ("deploymentStart", "datetime", REQUIRED),
        ("deploymentEnd", "datetime", REQUIRED),
        ("setupBy", "string", {}),
        ("cameraID", "string", {}),
        ("cameraModel", "string", {}),
        ("cameraDelay", "integer", NOT_NEGATIVE),
        ("cameraHeight", "number", NOT_NEGATIVE),
        ("cameraDepth", "number", NOT_NEGATIVE),
        ("cameraTilt", "integer", ANGLE),
        ("cameraHeading", "integer", {"minimum": 0, "maximum": 360}),
        ("detectionDistance", "number", NOT_NEGATIVE),
        ("timestampIssues", "boolean", {}),
        ("baitUse", "boolean", {}),
        (
            "featureType",
            "string",
            one_of(
                *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge"),
                *("culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
            ),
        ),
        ("habitat", "string", {}),
        ("deploymentGroups", "string", {}),
        ("deploymentTags", "string", {}),
        ("deploymentComments", "string", {}),
    ],
    "media": [
        ("mediaID", "string", UNIQUE),
        ("deploymentID", "string", REQUIRED),
        ("captureMethod", "string", one_of("activityDetection", "timeLapse")),
        ("timestamp", "datetime", REQUIRED),
        # A URL, or a path that does not leave the package.
        ("filePath", "string", REQUIRED | {"pattern": r"(?![./~])(?!.*\.\.).+"}),
        ("filePublic", "boolean", REQUIRED),
        ("fileName", "string", {}),
        ("fileMediatype", "string", REQUIRED | {"pattern": r"(image|video|audio)/.*"}),
        ("exifData", "object", {}),
        ("favorite", "boolean", {}),
        ("mediaComments", "string", {}),
    ],
    "observations": [
        ("observationID", "string", UNIQUE),
        ("deploymentID", "string", REQUIRED),
        ("mediaID", "string", {}),
        ("eventID", "string", {}),
        ("eventStart", "datetime", REQUIRED),
        ("eventEnd", "datetime", REQUIRED),
        ("observationLevel", "string", one_of("media", "event", required=True)),
        (
            "observationType",
            "string",
            one_of("animal", "human", "vehicle", "blank", "unknown", "unclassified", required=True),
        ),
        ("cameraSetupType", "string", one_of("setup", "calibration")),
        ("scientificName", "string", {}),
        ("count", "integer", {"minimum": 1}),
        ("lifeStage", "string", one_of("adult", "subadult", "juvenile")),
        ("sex", "string", one_of("female", "male")),
        ("behavior", "string", {}),
        ("individualID", "string", {}),
        ("individualPositionRadius", "number", NOT_NEGATIVE),
        ("individualPositionAngle", "number", ANGLE),
        ("individualSpeed", "number", NOT_NEGATIVE),
        ("bboxX", "number", FRACTION),
        ("bboxY", "number", FRACTION),
        ("bboxWidth", "number", SIDE),
        ("bboxHeight", "number", SIDE),
        ("classificationMethod", "string", one_of("human", "machine")),
        ("classifiedBy", "string", {}),
        ("classificationTimestamp", "datetime", {}),
        ("classificationProbability", "number", FRACTION),
        ("observationTags", "string", {}),
        ("observationComments", "string", {}),
    ],
}

# Columns that name a row of another table.
FOREIGN_KEYS = {
    "deployments": [],
    "media": [("deploymentID", "deployments")],
    "observations": [("deploymentID", "deployments"), ("mediaID", "media")],
}

TEXT = {"type": "string"}

# JSON Schema of datapackage.json.
PROFILE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": [
        *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"),
    ],
    "properties": {
        "contributors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["title"],
                "properties": {
                    "role": {"enum": ["contact", "principalInvestigator", "rightsHolder", "publisher", "contributor"]}
                },
            },
        },
        "sources": {"type": "array", "items": {"required": ["title"], "properties": {"version": TEXT}}},
        "licenses": {
            "type": "array",
            "minItems": 2,
            "items": {
                "required": ["scope"],
                "properties": {"scope": {"enum": ["data", "media"]}, "name": TEXT | {"pattern": "^[-a-zA-Z0-9._]+$"}},
            },
        },
        "project": {
            "type": "object",
            "required": ["title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"],
            "properties": {
                "title": TEXT,
                "samplingDesign": {
                    "enum": [
                        *("simpleRandom", "systematicRandom", "clusteredRandom"),
                        *("experimental", "targeted", "opportunistic"),
                    ]
                },
                "captureMethod": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"enum": ["activityDetection", "timeLapse"]},
                },
                "individualAnimals": {"type": "boolean"},
                "observationLevel": {"type": "array", "items": {"enum": ["media", "event"]}},
            },
        },
        # GeoJSON, as far as one rectangle or point needs it.
        "spatial": {
            "type": "object",
            "required": ["type", "coordinates"],
            "properties": {
                "type": {"enum": ["Point", "Polygon"]},
                "bbox": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
                "coordinates": {"type": "array"},
            },
        },
        "temporal": {
            "type": "object",
            "required": ["start", "end"],
            "properties": dict.fromkeys(["start", "end"], TEXT | {"pattern": r"^\d{4}-\d\d-\d\d$"}),
        },
        "taxonomic": {
            "type": "array",
            "items": {"type": "object", "required": ["scientificName"], "properties": {"scientificName": TEXT}},
        },
    },
}


def schema(table: str) -> dict:
    """The Table Schema of `table`."""
    columns = TABLES[table]
    fields = [{"name": name, "type": kind, "constraints": rules} for name, kind, rules in columns]
    for field in fields:
        if field["type"] == "datetime":
            field["format"] = "%Y-%m-%dT%H:%M:%S%z"
    keys = [
        {"fields": [column], "reference": {"resource": other, "fields": [column]}}
        for column, other in FOREIGN_KEYS[table]
    ]
    return {"fields": fields, "primaryKey": [columns[0][0]], "foreignKeys": keys}


def extract(package: Path, folder: Path) -> None:
    """Unpacks the zip `package` into `folder`."""
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        expected = {"datapackage.json", *(f"{table}.csv" for table in TABLES)}
        assert set(archive.namelist()) == expected
        archive.extractall(folder)


def errors(folder: Path) -> list[str]:
    """What frictionless finds wrong with the package in `folder`, with the rules of this module instead of the URLs."""
    descriptor = json.loads((folder / "datapackage.json").read_text("utf-8"))
    assert descriptor["profile"] == f"{STANDARD}/camtrap-dp-profile.json"
    assert [resource["name"] for resource in descriptor["resources"]] == list(TABLES)
    for resource in descriptor["resources"]:
        table = resource["name"]
        assert resource["profile"] == "tabular-data-resource"
        assert resource["schema"] == f"{STANDARD}/{table}-table-schema.json"
        resource["schema"] = schema(table)
    profile = folder / "profile.json"
    profile.write_text(json.dumps(PROFILE))
    descriptor["profile"] = str(profile)
    offline = folder / "offline.json"
    offline.write_text(json.dumps(descriptor))
    # The profile has an absolute path, which frictionless opens only in a package that it trusts.
    with frictionless.system.use_context(trusted=True):
        report = frictionless.validate(str(offline), type="package")
    found = report.flatten(["rowNumber", "fieldName", "type", "message"])
    assert report.valid == (not found)
    return [str(error) for error in found]
