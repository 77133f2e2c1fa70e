//! Cheap, reproducible randomness: a counter-based generator and a hash over a few numbers.
//!
//! No transcendental functions anywhere in the model, so that every platform computes the same bits.
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Returns 64 well-mixed bits of `seed` and `parts`.
pub fn hash(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(seed.wrapping_add(GOLDEN)), |state, part| {
        mix(state.wrapping_add(GOLDEN) ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    })
}

/// Maps 64 random bits to `[0, 1)`.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A stream of random bits.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Starts the stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns the next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Returns a number that is nearly normal, mean 0, standard deviation 1, within ±3.47.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        normal(self.bits())
    }

    /// Returns how many events happen when `mean` are expected: Poisson's mean and spread, roughly its shape.
    #[inline]
    pub fn count(&mut self, mean: f64) -> u64 {
        let bits = self.bits();
        if mean < 1.0 {
            return u64::from(unit(bits) < mean);
        }
        (mean + mean.sqrt() * normal(bits) + 0.5).max(0.0) as u64
    }
}

/// Adds up four 16-bit lanes: by the central limit theorem close enough to a normal distribution.
#[inline]
fn normal(bits: u64) -> f64 {
    let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    // Standard deviation of a sum of four uniform numbers below 65,536: 65,536 / sqrt(3).
    (sum as f64 - 131_070.0) * (1.0 / 37_837.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut rng = Rng::new(1);
        let numbers: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|number| number * number).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn counts_have_the_mean_asked_for() {
        for mean in [0.05, 0.7, 20.0, 900.0] {
            let mut rng = Rng::new(2);
            let total: u64 = (0..100_000).map(|_| rng.count(mean)).sum();
            let found = total as f64 / 100_000.0;
            assert!((found / mean - 1.0).abs() < 0.05, "{found} for {mean}");
        }
    }

    #[test]
    fn hashes_differ_by_seed_part_and_position() {
        let hashes =
            [hash(1, &[1, 2]), hash(1, &[2, 1]), hash(2, &[1, 2]), hash(1, &[1]), hash(1, &[1, 2, 0])];
        for (index, one) in hashes.iter().enumerate() {
            assert!(hashes[index + 1..].iter().all(|other| other != one));
        }
    }
}
