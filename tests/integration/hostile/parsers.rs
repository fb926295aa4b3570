//! The properties of the fuzz targets, on fixtures and on mutations of them.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

use exif::Tag;

use super::{corpus::turned_by_xmp, mutation::mutate, targets};
use crate::support::{
    command::{root, test_image},
    exif::{exif, text},
    photo::photo,
    random,
};

/// A fuzz target, and the inputs that are mutated for it.
struct Target {
    name: &'static str,
    run: fn(&[u8]),
    seeds: Vec<Vec<u8>>,
    /// Mutations in the long level.
    mutations: usize,
}

#[test]
fn parsers_survive_some_mutations() {
    parsers_survive_one_mutation_in(20);
}

#[test]
#[ignore = "long: 91,000 mutations"]
fn parsers_survive_many_mutations() {
    parsers_survive_one_mutation_in(1);
}

fn parsers_survive_one_mutation_in(share: usize) {
    let mut random = random::generator();
    for target in targets() {
        for seed in &target.seeds {
            target.holds(seed);
        }
        for n in 0..target.mutations / share {
            let mut bytes = target.seeds[n % target.seeds.len()].clone();
            let other = &target.seeds[random.usize(..target.seeds.len())];
            mutate(&mut bytes, other, &mut random);
            target.holds(&bytes);
        }
    }
}

impl Target {
    /// Fails with the input if the target panics.
    fn holds(&self, bytes: &[u8]) {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| (self.run)(bytes))) {
            println!(
                "{} panics at {:?}",
                self.name,
                bytes.escape_ascii().to_string()
            );
            panic::resume_unwind(panic);
        }
    }
}

fn targets() -> [Target; 6] {
    let read = |path: PathBuf| fs::read(path).unwrap();
    let events = fs::read_dir(root().join("tests/events")).unwrap();
    let mut events: Vec<Vec<u8>> = events.map(|file| read(file.unwrap().path())).collect();
    events.sort();
    let keys = [
        "a+b%2Bc.jpg",
        "100%25+caf%C3%A9/%E8%9B%BE.jpg",
        "%",
        "%F",
        "%FF%",
    ];
    let manifests = ["model", "tests/color_model"];
    let photos = ["bad/truncated.png", "bad/truncated.jpg"];
    let mut photos = photos.map(|name| read(test_image(name))).to_vec();
    photos.push(photo("FAW"));
    photos.extend(turned_by_xmp());
    let captures = [
        exif(&[
            text(Tag::DateTimeOriginal, "2026:05:01 23:58:00"),
            text(Tag::OffsetTimeOriginal, "+01:00"),
            text(Tag::Make, "Wingscapes"),
            text(Tag::Model, "WCB-00116"),
            text(Tag::GPSLatitudeRef, "S"),
            text(Tag::GPSLongitudeRef, "E"),
        ]),
        b"2026-05-01T23:58:00+01:00".to_vec(),
        b"field-2/cam-7/IMG_20260501_235800.jpg".to_vec(),
    ];
    [
        Target {
            name: "capture",
            run: targets::capture,
            seeds: captures.to_vec(),
            mutations: 20_000,
        },
        Target {
            name: "event",
            run: targets::event,
            seeds: events,
            mutations: 20_000,
        },
        Target {
            name: "key",
            run: targets::key,
            seeds: keys.map(|key| key.as_bytes().to_vec()).to_vec(),
            mutations: 20_000,
        },
        Target {
            name: "manifest",
            run: targets::manifest,
            seeds: manifests
                .map(|model| read(root().join(model).join("model.json")))
                .to_vec(),
            mutations: 20_000,
        },
        Target {
            name: "photo",
            run: targets::photo,
            seeds: photos,
            mutations: 1000,
        },
        Target {
            name: "records",
            run: targets::records,
            seeds: vec![
                DEPLOYMENTS.into(),
                // A cursor, and an id.
                b"eyJ2IjoxLCJxIjoiMDEyMzQ1Njc4OWFiY2RlZiIsInAiOnsiUmFuayI6IjAuNTEyMDAwI2EifX0"
                    .to_vec(),
                b"FAW-fe1f582d-c4e1-5212-ac29-0c91366e1064".to_vec(),
            ],
            mutations: 10_000,
        },
    ]
}

/// A deployments table.
const DEPLOYMENTS: &str = "deploymentID,locationID,cameraID,latitude,longitude,deploymentStart,deploymentEnd,timeZone,clockOffsetSeconds
d1,field-2,cam-7,6.5,3.4,2026-05-01T18:00:00+01:00,2026-05-31T06:00:00Z,Africa/Lagos,-60
d2,field-2,,6.5,3.4,2026-05-01T18:00:00+0100,2026-05-31T06:00:00Z,,
";
