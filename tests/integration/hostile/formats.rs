//! Files of other formats than their names say.

use std::fs;

use serde_json::Value;

use super::{corpus::corpus_file, options};
use crate::support::{
    command::test_image,
    event::outcome,
    photo::{moth, photo},
    stack::Stack,
};

/// Puts a file, and returns its outcome.
async fn outcome_of(stack: &mut Stack, key: &str, bytes: Vec<u8>) -> Value {
    let (_, delivery) = stack.put(key, bytes).await;
    outcome(&delivery.answer.unwrap()).clone()
}

#[tokio::test]
async fn a_photo_is_recorded_whatever_its_name() {
    let mut stack = Stack::with(options()).await;
    for (key, bytes) in [
        ("png.jpg", photo("FAW")),
        ("photo.txt", moth()),
        (
            "animated.webp",
            corpus_file("webp/extended_images/anim.webp"),
        ),
        ("animated.png", corpus_file("png/apng/ball.png")),
    ] {
        let outcome = outcome_of(&mut stack, key, bytes).await;
        assert_eq!(outcome["outcome"], "recorded", "{outcome}");
    }
    stack.stop().await;
}

#[tokio::test]
async fn another_format_is_rejected_with_advice() {
    let mut stack = Stack::with(options()).await;
    let bad = |name: &str| fs::read(test_image(&format!("bad/{name}"))).unwrap();
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"10\" height=\"10\"/>".to_vec();
    for (key, bytes, reason) in [
        (
            "page.png",
            bad("page.png"),
            "HTML is not supported: the file is a web page, save the photo itself and send that",
        ),
        (
            "photo.heic",
            bad("photo.heic"),
            "HEIC is not supported: set the phone to 'most compatible' or convert it to JPEG",
        ),
        (
            "arithmetic.jpg",
            bad("arithmetic.jpg"),
            "arithmetic-coded JPEG is not supported: save it again as a baseline or progressive JPEG",
        ),
        (
            "animation.jpg",
            bad("animation.gif"),
            "GIF is not supported: send JPEG, PNG or WebP",
        ),
        (
            "drawing.jpg",
            svg,
            "SVG is not supported: send JPEG, PNG or WebP",
        ),
        (
            "letter.jpg",
            b"%PDF-1.7\n1 0 obj".to_vec(),
            "PDF is not supported: send a photo, as JPEG, PNG or WebP",
        ),
    ] {
        let outcome = outcome_of(&mut stack, key, bytes).await;
        assert_eq!(outcome["outcome"], "rejected", "{outcome}");
        assert_eq!(outcome["reason"], reason, "{key}");
    }
    stack.stop().await;
}
