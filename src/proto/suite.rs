//! Whether cryptography is real, and the cheap stand-ins used where it is not.
//!
//! A simulated run is 10 members, 200 messages and 30 virtual seconds in 10 ms: real cryptography would be most of
//! it and prove nothing about delivery. [`Suite::Null`] keeps every message's shape and length, and still notices a
//! wrong password, key, session or signature, by a 64-bit mix that anybody can compute.

/// Which cryptography a node uses. A value given to constructors, never negotiated on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// What proto.md describes.
    Real,
    /// None: for the simulator and the fuzzer only.
    Null,
}

/// A cheap hash of some byte strings, order and lengths included. No security at all.
pub(crate) fn mix(parts: &[&[u8]]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for part in parts {
        state = step(state ^ part.len() as u64);
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            state = step(state ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = step(state ^ u64::from_le_bytes(last));
    }
    state
}

/// `N` bytes that follow from `seed`.
pub(crate) fn fill<const N: usize>(seed: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let mut state = seed;
    for chunk in bytes.chunks_mut(8) {
        state = step(state);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// One round of splitmix64 (Steele, Lea, Flood 2014).
fn step(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_tells_apart_what_differs() {
        assert_eq!(mix(&[b"abc", b"d"]), mix(&[b"abc", b"d"]));
        assert_ne!(mix(&[b"abc", b"d"]), mix(&[b"ab", b"cd"]));
        assert_ne!(mix(&[b"abc"]), mix(&[b"abc\0"]));
        assert_ne!(mix(&[b""]), mix(&[]));
        assert_ne!(fill::<16>(1)[..8], fill::<16>(1)[8..]);
    }
}
