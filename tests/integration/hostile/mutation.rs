//! Damages bytes as transfers, disks and attackers do.

use fastrand::Rng;

/// Damages `bytes` once. `other` is a file whose end may be appended.
pub(super) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(..bytes.len());
    match random.u8(..7) {
        0 => bytes.truncate(at + 1),
        1 => bytes[at] ^= 1 << random.u8(..8),
        2 => bytes[at] = [0, 0xff, 0x7f, 0x80][random.usize(..4)],
        // Sizes are in the first bytes of most formats.
        3 => {
            let head = bytes.len().min(64);
            bytes[random.usize(..head)] = random.u8(..);
        }
        4 => {
            let end = (at + random.usize(..64)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        5 => {
            let from = random.usize(..other.len());
            bytes.truncate(at + 1);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = (at + random.usize(..200)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}
