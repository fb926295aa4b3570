//! Bytes that nobody should send: files that are broken, lie about what they are, or are made to harm,
//! and keys that would break a log or a URL.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;
#[path = "fuzz/targets.rs"]
mod targets;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};
use moth_classifier::{classifier::Classifier, config::Limits, predictor::Predictor};
use moth_engine::isa::Isa;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use support::{
    COLOR_MODEL, Options, Stack, event, kill, outcome, picture, queue_event, string, xmp,
};

fn options() -> Options<'static> {
    Options {
        variables: &[COLOR_MODEL],
        processes: 1,
        ..Options::default()
    }
}

/// The pictures of the `image` crate's own tests, out of its published package.
fn corpus() -> Vec<PathBuf> {
    // Only what this platform needs has been downloaded.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .args(["--filter-platform", host.unwrap()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "image" && package["version"] == "0.24.9")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    let files = walkdir::WalkDir::new(manifest.with_file_name("tests").join("images"));
    let files = files.sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let files: Vec<PathBuf> = files.map(|entry| entry.into_path()).collect();
    assert!(files.len() > 100, "{} files", files.len());
    files
}

fn corpus_file(name: &str) -> Vec<u8> {
    let files = corpus();
    let path = files.iter().find(|path| path.ends_with(name));
    fs::read(path.unwrap_or_else(|| panic!("no {name}"))).unwrap()
}

#[tokio::test]
async fn content_counts_and_names_do_not() {
    let mut stack = Stack::with(options()).await;
    let bad = |name: &str| fs::read(support::test_image(&format!("bad/{name}"))).unwrap();
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"10\" height=\"10\"/>".to_vec();
    for (key, bytes, reason) in [
        ("png.jpg", picture("FAW"), None),
        ("photo.txt", support::moth(), None),
        (
            "animated.webp",
            corpus_file("webp/extended_images/anim.webp"),
            None,
        ),
        ("animated.png", corpus_file("png/apng/ball.png"), None),
        (
            "page.png",
            bad("page.png"),
            Some(
                "HTML is not supported: the file is a web page, save the photo itself and send that",
            ),
        ),
        (
            "photo.heic",
            bad("photo.heic"),
            Some("HEIC is not supported: set the phone to 'most compatible' or convert it to JPEG"),
        ),
        (
            "arithmetic.jpg",
            bad("arithmetic.jpg"),
            Some(
                "arithmetic-coded JPEG is not supported: save it again as a baseline or progressive JPEG",
            ),
        ),
        (
            "animation.jpg",
            bad("animation.gif"),
            Some("GIF is not supported: send JPEG, PNG or WebP"),
        ),
        (
            "drawing.jpg",
            svg,
            Some("SVG is not supported: send JPEG, PNG or WebP"),
        ),
        (
            "letter.jpg",
            b"%PDF-1.7\n1 0 obj".to_vec(),
            Some("PDF is not supported: send a photo, as JPEG, PNG or WebP"),
        ),
    ] {
        let (_, delivery) = stack.put(key, bytes).await;
        let answer = delivery.answer.unwrap();
        let outcome = outcome(&answer);
        match reason {
            None => assert_eq!(outcome["outcome"], "recorded", "{outcome}"),
            Some(reason) => {
                assert_eq!(outcome["outcome"], "rejected", "{outcome}");
                assert_eq!(outcome["reason"], reason, "{key}");
            }
        }
    }
    stack.stop().await;
}

#[tokio::test]
async fn keys_are_kept_as_they_are_and_do_no_harm() {
    let mut stack = Stack::with(options()).await;
    let longest = "蛾é😀/".repeat(102) + "1234"; // 10 bytes each: 1,024 in all
    assert_eq!(longest.len(), 1024);
    let keys = [
        longest.as_str(),
        "line\nbreak\r\n{\"message\":\"image\",\"outcome\":\"recorded\"}.jpg",
        "quote\"s 'and' \\backslashes\\.jpg",
        "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{7f}.jpg",
        "\u{202e}gpj.exe \u{2066}isolated\u{2069}\u{200f}.jpg",
        "a b+c%20d%2Be&f=g?h#i;j:k@l,m.jpg",
        "//double//slashes/../and/./dots.jpg",
        " .jpg",
    ];
    for key in keys {
        let (version, delivery) = stack.put(key, picture("ECLW")).await;
        let answer = delivery.answer.unwrap();
        assert_eq!(outcome(&answer)["outcome"], "recorded", "{key:?}");
        assert_eq!(outcome(&answer)["key"], key);
        // And one that fails, whose error tells the key.
        let elsewhere = event(&[("no-such-bucket", &form_encoded(key), Some(&version))]);
        let error = stack.invoke(&elsewhere).await.unwrap_err();
        let message = error["errorMessage"].as_str().unwrap();
        assert!(!message.chars().any(is_harmful), "{message:?}");
    }
    let records = stack.records().await;
    let stored: BTreeSet<String> = records.iter().map(|r| string(r, "ObjectKey")).collect();
    assert_eq!(stored, keys.map(str::to_owned).into());
    for record in &records {
        let url = string(record, "ImageURL_ClassName");
        assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
        let (path, query) = url.rsplit_once("?versionId=").unwrap();
        let path = path.strip_prefix("https://moths.s3.us-east-1.amazonaws.com/");
        let key = percent_decode_str(path.unwrap()).decode_utf8().unwrap();
        assert_eq!(key, string(record, "ObjectKey"));
        assert_eq!(query, string(record, "VersionId"));
        assert!(!path.unwrap().contains(['?', '#', '+', ' ']), "{url}");
    }
    let folder = stack.stop().await;
    let log = fs::read_to_string(folder.path().join("function.log")).unwrap();
    assert!(!log.chars().any(|c| c != '\n' && is_harmful(c)));
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let images = lines.filter(|line| line["message"] == "image");
    assert_eq!(images.count(), keys.len());
}

/// What moves a terminal's cursor or turns its text around.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn form_encoded(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What became of many files.
#[derive(Default, Debug)]
struct Tally {
    pictures: usize,
    rejections: BTreeMap<String, usize>,
    panics: usize,
}

/// Takes any bytes the way of the function, up to the model.
struct Taster(Predictor);

impl Taster {
    fn new() -> Self {
        let classifier = Classifier::load(Path::new(COLOR_MODEL.1), Isa::detect()).unwrap();
        let limits = Limits {
            bytes: 1 << 20,
            pixels: 4_000_000,
        };
        Self(Predictor::new(classifier, limits, 1))
    }

    fn taste(&self, bytes: &[u8], tally: &mut Tally) {
        match self.0.input(bytes) {
            Ok(tensor) => {
                assert!(
                    tensor
                        .values
                        .iter()
                        .all(|value| (0.0..=1.0).contains(value))
                );
                tally.pictures += 1;
            }
            Err(rejection) => {
                let reason = rejection.to_string();
                tally.panics += usize::from(reason.ends_with("panicked"));
                // The first words tell the kind.
                let kind = reason
                    .split([':', ' '])
                    .take(4)
                    .collect::<Vec<_>>()
                    .join(" ");
                *tally.rejections.entry(kind).or_default() += 1;
            }
        }
    }
}

#[test]
fn broken_and_odd_files_of_others_are_pictures_or_have_a_reason() {
    let taster = Taster::new();
    let mut tally = Tally::default();
    let files = corpus();
    for path in &files {
        taster.taste(&fs::read(path).unwrap(), &mut tally);
    }
    assert!(tally.pictures > 20, "{tally:?}");
    println!("{} files: {tally:#?}", files.len());
}

/// A table of codes takes 19 bytes in the file, and kilobytes once it is made. Were each of these made, it would take
/// minutes.
#[test]
fn tables_of_codes_that_no_scan_names_are_not_made() {
    let mut bytes = fs::read(support::test_image("good/faw.jpg")).unwrap();
    // Codes of one and two bits, both for the symbol 1; table 3 of those for AC.
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
    assert_eq!(tally.pictures, 1, "{tally:?}");
    let took = started.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn mutations_are_pictures_or_have_a_reason() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let ours = ["good", "bad"].map(|folder| fs::read_dir(support::test_image(folder)).unwrap());
    let ours = ours.into_iter().flatten().map(|file| file.unwrap().path());
    for path in ours.chain(corpus()) {
        let bytes = fs::read(path).unwrap();
        let is_ours = image::guess_format(&bytes).is_ok_and(|format| {
            use image::ImageFormat::{Jpeg, Png, WebP};
            matches!(format, Jpeg | Png | WebP)
        });
        if is_ours && bytes.len() < 40_000 {
            seeds.push(bytes);
        }
    }
    seeds.extend(turned_by_xmp());
    assert!(seeds.len() > 40, "{} seeds", seeds.len());
    let started = Instant::now();
    let taster = Taster::new();
    let mut tally = Tally::default();
    let mut random = Random(7);
    const MUTATIONS: usize = 6000;
    for n in 0..MUTATIONS {
        let mut bytes = seeds[n % seeds.len()].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, other, &mut random);
        }
        taster.taste(&bytes, &mut tally);
    }
    // Most are damaged, and some are still pictures: else the mutations would be too mild or too wild.
    assert!(tally.pictures > MUTATIONS / 50, "{tally:?}");
    assert!(tally.pictures < MUTATIONS / 2, "{tally:?}");
    println!(
        "{MUTATIONS} mutations of {} seeds in {:.0} s: {tally:#?}",
        seeds.len(),
        started.elapsed().as_secs_f64()
    );
}

/// A photo of each format with its orientation in XMP, the PNG's also compressed.
fn turned_by_xmp() -> Vec<Vec<u8>> {
    let good = |name: &str| fs::read(support::test_image(&format!("good/{name}"))).unwrap();
    let (packet, png) = (xmp::packet(6), good("aaw-orientation-6.png"));
    vec![
        xmp::jpeg(&good("faw-orientation-6.jpg"), &packet),
        xmp::png(&png, &packet, b"IDAT", true),
        xmp::png(&png, &packet, b"IEND", false),
        xmp::webp(&good("eclw-orientation-6.webp"), &packet),
    ]
}

/// Changes bytes as transfers, disks and people with intent do.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes.truncate(at + 1),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.below(4)],
        // Headers are where the sizes are.
        3 => {
            let head = bytes.len().min(64);
            let at = random.below(head);
            bytes[at] = random.below(256) as u8;
        }
        4 => {
            let end = (at + random.below(64)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        5 => {
            let from = random.below(other.len());
            bytes.truncate(at + 1);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = (at + random.below(200)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// The bodies of the fuzz targets, on fixtures and what mutations make of them.
#[test]
fn parsers_hold_what_the_fuzz_targets_ask() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: PathBuf| fs::read(path).unwrap();
    let events = fs::read_dir(folder.join("tests/events")).unwrap();
    let mut events: Vec<Vec<u8>> = events.map(|file| read(file.unwrap().path())).collect();
    events.sort();
    let manifests =
        ["model", "tests/color_model"].map(|model| read(folder.join(model).join("model.json")));
    let keys = [
        "a+b%2Bc.jpg",
        "100%25+caf%C3%A9/%E8%9B%BE.jpg",
        "%",
        "%F",
        "%FF%",
    ];
    let keys = keys.map(|key| key.as_bytes().to_vec());
    let pictures = ["bad/truncated.png", "bad/truncated.jpg", "good/tiny.png"];
    let mut pictures = pictures
        .map(|name| fs::read(support::test_image(name)).unwrap_or_else(|_| picture("FAW")))
        .to_vec();
    pictures.extend(turned_by_xmp());
    type Target = (fn(&[u8]), Vec<Vec<u8>>, usize);
    let all: [Target; 4] = [
        (targets::event, events, 20_000),
        (targets::key, keys.to_vec(), 20_000),
        (targets::manifest, manifests.to_vec(), 20_000),
        (targets::picture, pictures, 1000),
    ];
    let mut random = Random(11);
    for (target, seeds, mutations) in all {
        for seed in &seeds {
            target(seed);
        }
        for n in 0..mutations {
            let mut bytes = seeds[n % seeds.len()].clone();
            let other = &seeds[random.below(seeds.len())];
            mutate(&mut bytes, other, &mut random);
            target(&bytes);
        }
    }
}

/// Most memory that the function's process has had, in MiB.
fn peak_memory(stack: &Stack) -> u64 {
    status(stack, "VmHWM:")
}

/// A line of `/proc/<function>/status`, in MiB.
fn status(stack: &Stack, field: &str) -> u64 {
    let process = *stack.local.processes().ids().first().unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// Just under the default limit of 50 million pixels.
const SIDE: u32 = 7071;

fn png(side: u32, color: ExtendedColorType) -> Vec<u8> {
    let zeros = vec![0; side as usize * side as usize * usize::from(color.bits_per_pixel()) / 8];
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&zeros, side, side, color)
        .unwrap();
    bytes
}

/// A small PNG with a colour profile that unpacks to hundreds of megabytes.
fn png_with_a_packed_profile() -> Vec<u8> {
    // The data of a black picture is a zlib stream of zeros.
    let black = png(12_000, ExtendedColorType::Rgb8);
    let start = black.windows(4).position(|kind| kind == b"IDAT").unwrap();
    let length = u32::from_be_bytes(black[start - 4..start].try_into().unwrap()) as usize;
    let stream = &black[start + 4..start + 4 + length];
    let profile = xmp::png_chunk(b"iCCP", &[b"bomb\0\0", stream].concat());
    let text = xmp::png_chunk(b"zTXt", &[b"Comment\0\0", stream].concat());
    let mut small = picture("FAW");
    let after_header = 8 + 25;
    small.splice(after_header..after_header, [profile, text].concat());
    small
}

/// A progressive JPEG whose header declares `side` × `side`.
fn progressive_jpeg(side: u32) -> Vec<u8> {
    let mut bytes = corpus_file("jpg/progressive/cat.jpg");
    let frame = bytes
        .windows(2)
        .position(|marker| marker == [0xff, 0xc2])
        .unwrap();
    let side = u16::try_from(side).unwrap().to_be_bytes();
    bytes[frame + 5..frame + 7].copy_from_slice(&side);
    bytes[frame + 7..frame + 9].copy_from_slice(&side);
    bytes
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn no_picture_takes_more_memory_than_stated() {
    /// As "Memory" in docs/operations.md says, in MiB.
    const STATED: u64 = 700;
    let mut stack = Stack::with(options()).await;
    let webp = {
        let zeros = vec![0; (SIDE * SIDE * 4) as usize];
        let mut bytes = Vec::new();
        WebPEncoder::new_lossless(&mut bytes)
            .encode(&zeros, SIDE, SIDE, ExtendedColorType::Rgba8)
            .unwrap();
        bytes
    };
    for (name, bytes, bound) in [
        ("a small picture", picture("FAW"), 100),
        (
            "declared 60000×60000",
            fs::read(support::test_image("bad/60000x60000.png")).unwrap(),
            100,
        ),
        (
            "PNG with a packed profile",
            png_with_a_packed_profile(),
            200,
        ),
        ("PNG, 8-bit gray", png(SIDE, ExtendedColorType::L8), STATED),
        (
            "PNG, 16-bit RGBA",
            png(SIDE, ExtendedColorType::Rgba16),
            STATED,
        ),
        ("WebP, animated", animated(&webp), STATED),
        ("WebP, lossless RGBA", webp, STATED),
        ("JPEG, progressive", progressive_jpeg(SIDE), STATED),
    ] {
        let size = bytes.len() / 1024;
        // Each in a process of its own.
        stack.local.processes().ids().into_iter().for_each(kill);
        let (_, delivery) = stack.put(name, bytes).await;
        let peak = peak_memory(&stack);
        let answer = delivery.answer.unwrap();
        let outcome = outcome(&answer);
        println!("{peak:>4} MiB  {name}, {size} KiB: {}", outcome["outcome"]);
        assert!(peak <= bound, "{name}: {peak} MiB");
    }
    stack.stop().await;
}

/// A WebP of some chunks: <https://developers.google.com/speed/webp/docs/riff_container>.
fn webp(chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
    let chunks = chunks
        .iter()
        .map(|(kind, declared, content)| [&kind[..], &declared.to_le_bytes(), content].concat());
    let chunks = chunks.collect::<Vec<_>>().concat();
    let size = u32::try_from(4 + chunks.len()).unwrap().to_le_bytes();
    [b"RIFF", &size[..], b"WEBP", &chunks].concat()
}

/// An animation whose one frame is the lossless picture `still` of `SIDE`×`SIDE` pixels.
fn animated(still: &[u8]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let side = &(SIDE - 1).to_le_bytes()[..3];
    let canvas = [&[0x12, 0, 0, 0], side, side].concat();
    let frame = [&[0; 6], side, side, &[0; 4], &still[12..]].concat();
    webp(&[
        (b"VP8X", 10, &canvas),
        (b"ANIM", 6, &[0; 6]),
        (b"ANMF", size(&frame), &frame),
    ])
}

/// A WebP of 8×8 pixels, whose last chunk declares 4 GB of EXIF.
fn webp_that_claims_gigabytes() -> Vec<u8> {
    let mut still = Vec::new();
    WebPEncoder::new_lossless(&mut still)
        .encode(&[0; 8 * 8 * 3], 8, 8, ExtendedColorType::Rgb8)
        .unwrap();
    let pixels = &still[20..];
    let size = u32::try_from(pixels.len()).unwrap();
    webp(&[
        (b"VP8X", 10, &[8, 0, 0, 0, 7, 0, 0, 7, 0, 0]),
        (b"VP8L", size, pixels),
        (b"EXIF", u32::MAX - 1, b"II*\0"),
    ])
}

/// Allocated and not touched, it shows in no resident set; but where memory is scarce it is refused,
/// and that ends the process.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_claimed_length_is_not_allocated() {
    let mut stack = Stack::with(options()).await;
    stack.put("small.png", picture("FAW")).await;
    let before = status(&stack, "VmPeak:");
    let (_, delivery) = stack.put("claims.webp", webp_that_claims_gigabytes()).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "recorded");
    let after = status(&stack, "VmPeak:");
    assert!(after < before + 1024, "{before} to {after} MiB");
    stack.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_large_photos_takes_no_more_than_one() {
    /// As "Memory" in docs/operations.md says, in MiB.
    const STATED: u64 = 450;
    let stack = Stack::with(Options {
        notify: false,
        ..options()
    })
    .await;
    let photo = {
        let (width, height) = (4000, 3000);
        // Some detail, so that the file has the size of a photo.
        let mut random = Random(3);
        let pixels: Vec<u8> = (0..width * height * 3)
            .map(|n| ((n / 3 % width / 16) as u8).wrapping_add(random.below(24) as u8))
            .collect();
        let mut bytes = Cursor::new(Vec::new());
        JpegEncoder::new_with_quality(&mut bytes, 90)
            .encode(
                &pixels,
                width as u32,
                height as u32,
                ExtendedColorType::Rgb8,
            )
            .unwrap();
        bytes.into_inner()
    };
    let mut messages = Vec::new();
    for n in 0..10 {
        let key = format!("{n}.jpg");
        let version = stack.upload(&key, photo.clone()).await;
        messages.push((key.clone(), event(&[("moths", &key, Some(&version))])));
    }
    let started = Instant::now();
    let answer = stack.invoke(&queue_event(&messages)).await.unwrap();
    assert_eq!(answer["batchItemFailures"], serde_json::json!([]));
    let peak = peak_memory(&stack);
    println!(
        "10 photos of 12 megapixels and {} KiB: {peak} MiB, {:.1} s",
        photo.len() / 1024,
        started.elapsed().as_secs_f64()
    );
    assert!(peak <= STATED, "{peak} MiB");
    assert_eq!(stack.records().await.len(), 10);
    stack.stop().await;
}
