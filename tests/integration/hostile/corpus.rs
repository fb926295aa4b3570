//! Files that the tests read or damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    command::{root, test_image},
    xmp,
};

/// Every photo in tests/corpus.
pub(super) fn corpus() -> Vec<PathBuf> {
    let formats = files(&root().join("tests/corpus")).into_iter();
    // Beside the photos, their licence is not one of them.
    let photos = formats.filter(|path| {
        let extension = path.extension().unwrap_or_default();
        path.file_name() != Some("LICENSE-MIT".as_ref()) && extension != "md"
    });
    photos.collect()
}

/// Every file below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name();
    let entries = entries.into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// A file of tests/corpus.
pub(super) fn corpus_file(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/corpus").join(name)).unwrap_or_else(|_| panic!("no {name}"))
}

/// Every JPEG, PNG and WebP of less than 40 kB in test_images and tests/corpus, and those of [`turned_by_xmp`].
pub(super) fn seeds() -> Vec<Vec<u8>> {
    use image::ImageFormat::{Jpeg, Png, WebP};
    let mut seeds = Vec::new();
    for path in files(&root().join("test_images"))
        .into_iter()
        .chain(corpus())
    {
        let bytes = fs::read(path).unwrap();
        let is_served =
            image::guess_format(&bytes).is_ok_and(|format| matches!(format, Jpeg | Png | WebP));
        if is_served && bytes.len() < 40_000 {
            seeds.push(bytes);
        }
    }
    seeds.extend(turned_by_xmp());
    assert!(seeds.len() > 40, "{} seeds", seeds.len());
    seeds
}

/// A photo of each format with its orientation in XMP, and one more with a compressed XMP.
pub(super) fn turned_by_xmp() -> Vec<Vec<u8>> {
    let good = |name: &str| fs::read(test_image(&format!("good/{name}"))).unwrap();
    let (packet, png) = (xmp::packet(6), good("aaw-orientation-6.png"));
    vec![
        xmp::jpeg(&good("faw-orientation-6.jpg"), &packet),
        xmp::png(&png, &packet, b"IDAT", true),
        xmp::png(&png, &packet, b"IEND", false),
        xmp::webp(&good("eclw-orientation-6.webp"), &packet),
    ]
}
