//! Damaged and odd files.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    corpus::corpus,
    tasting::{Tally, Taster},
};
use crate::support::command::test_image;

#[test]
fn odd_files_are_photos_or_have_a_reason() {
    let taster = Taster::new();
    let mut tally = Tally::default();
    for path in corpus() {
        taster.taste(&fs::read(path).unwrap(), &mut tally);
    }
    assert_eq!(tally.photos, 29, "{tally:#?}");
    let rejections: Vec<(&str, usize)> = tally
        .rejections
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    assert_eq!(
        rejections,
        [
            ("BMP is not supported", 4),
            ("GIF is not supported", 2),
            ("ICO is not supported", 2),
            ("TIFF or camera raw", 1),
            ("not a photo ", 5),
        ]
    );
}

/// A Huffman table takes 19 bytes in the file, and kilobytes in memory. To build all of these would take minutes.
#[test]
fn huffman_tables_that_no_scan_names_are_not_built() {
    const BOUND: Duration = Duration::from_secs(10);
    let mut bytes = fs::read(test_image("good/faw.jpg")).unwrap();
    // AC table 3 with codes of one and two bits, both for the symbol 1.
    let table = [&[0x13, 1, 1][..], &[0; 14], &[1, 1]].concat();
    let length = 2 + 3000 * table.len() as u16;
    let segment = [
        &[0xff, 0xc4],
        &length.to_be_bytes(),
        &table.repeat(3000)[..],
    ]
    .concat();
    bytes.splice(2..2, segment.repeat(15));
    let started = Instant::now();
    let mut tally = Tally::default();
    Taster::new().taste(&bytes, &mut tally);
    assert_eq!(tally.photos, 1, "{tally:?}");
    let took = started.elapsed();
    assert!(took < BOUND, "{took:?}");
}
