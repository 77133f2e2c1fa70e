//! Keys of series: a hash that nobody can foresee, so that nobody can make two series collide.

use twox_hash::XxHash3_128;
use xxhash_rust::const_xxh3::const_custom_default_secret;

/// Makes the keys by which the storage finds a series again, from any bytes that determine its labels within a tenant.
///
/// Why a secret and not a seed: from a seed the hash derives its secret anew for every text of more than 240 bytes.
#[derive(Clone)]
pub struct SeriesKeys {
    secret: [u8; 192],
}

impl SeriesKeys {
    /// Equal seeds make equal keys.
    pub fn from_seed(seed: u64) -> Self {
        Self { secret: const_custom_default_secret(seed) }
    }

    /// The key of `bytes`.
    ///
    /// PERF: by the widest vectors of the machine, which are looked for at run time.
    #[inline]
    pub fn key(&self, bytes: &[u8]) -> u128 {
        match XxHash3_128::oneshot_with_secret(&self.secret, bytes) {
            Ok(key) => key,
            Err(error) => unreachable!("a secret of {} bytes: {error}", self.secret.len()),
        }
    }
}

impl std::fmt::Debug for SeriesKeys {
    /// Without the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SeriesKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_every_byte_and_on_the_seed_whatever_the_length() {
        let (one, other) = (SeriesKeys::from_seed(1), SeriesKeys::from_seed(2));
        for length in [0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1_000] {
            let bytes = vec![7_u8; length];
            assert_eq!(one.key(&bytes), SeriesKeys::from_seed(1).key(&bytes), "{length}");
            assert_ne!(one.key(&bytes), other.key(&bytes), "{length}");
            for position in 0..length {
                let mut changed = bytes.clone();
                changed[position] ^= 1;
                assert_ne!(one.key(&bytes), one.key(&changed), "byte {position} of {length}");
            }
        }
    }
}
