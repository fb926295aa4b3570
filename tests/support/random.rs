//! Random numbers that a failed test can repeat.

use fastrand::Rng;

/// A generator with a fresh seed. The seed is in the output of a test that fails; TEST_SEED=… repeats the run.
pub(crate) fn generator() -> Rng {
    let seed = std::env::var("TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("TEST_SEED is a number"),
    );
    println!("repeat with TEST_SEED={seed}");
    Rng::with_seed(seed)
}
