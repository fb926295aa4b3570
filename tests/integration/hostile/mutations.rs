//! Damaged photos.

use super::{
    corpus::seeds,
    mutation::mutate,
    tasting::{Tally, Taster},
};
use crate::support::random;

#[test]
fn some_mutations_are_photos_or_have_a_reason() {
    mutations_are_photos_or_have_a_reason(600);
}

#[test]
#[ignore = "long: 6,000 mutations"]
fn many_mutations_are_photos_or_have_a_reason() {
    mutations_are_photos_or_have_a_reason(6000);
}

fn mutations_are_photos_or_have_a_reason(mutations: usize) {
    let seeds = seeds();
    let taster = Taster::new();
    let mut tally = Tally::default();
    let mut random = random::generator();
    for n in 0..mutations {
        let mut bytes = seeds[n % seeds.len()].clone();
        let other = &seeds[random.usize(..seeds.len())];
        for _ in 0..random.u8(1..=4) {
            mutate(&mut bytes, other, &mut random);
        }
        taster.taste(&bytes, &mut tally);
    }
    // Most must be damaged, and some must still be photos. Otherwise the mutations are too mild or too wild.
    assert!(tally.photos > mutations / 50, "{tally:?}");
    assert!(tally.photos < mutations / 2, "{tally:?}");
    println!("{mutations} mutations of {} seeds: {tally:#?}", seeds.len());
}
