//! Random numbers that a failed test can repeat.

use fastrand::Rng;

/// A generator with a fresh seed. A test that fails prints it, and TEST_SEED=… makes the same choices again.
pub(crate) fn generator() -> Rng {
    let seed = std::env::var("TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("TEST_SEED is a number"),
    );
    println!("repeat with TEST_SEED={seed}");
    Rng::with_seed(seed)
}
