//! Random numbers by address: the same seed, stream and index always give the same one, whatever was asked before.
//!
//! So the noise of a peer's n-th transfer does not depend on the strategy that led to it, and the ideal is computed over
//! the very noise that the peers met; and the requests of a class come at the same times under every scheme.

/// One number, evenly spread over 0 (excluded) to 1 (included).
pub(crate) fn uniform(seed: u64, stream: u64, index: u64) -> f64 {
    let bits = scramble(scramble(scramble(seed) ^ stream) ^ index) >> 11;
    (bits + 1) as f64 / (1u64 << 53) as f64
}

/// One number of the exponential distribution with this mean: the pause before the next of arrivals at random.
pub(crate) fn exponential(seed: u64, stream: u64, index: u64, mean: f64) -> f64 {
    -uniform(seed, stream, index).ln() * mean
}

/// One number of the normal distribution with mean 0 and variance 1, after Box and Muller.
pub(crate) fn gaussian(seed: u64, stream: u64, index: u64) -> f64 {
    let radius = (-2.0 * uniform(seed, stream, 2 * index).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, stream, 2 * index + 1)).cos()
}

/// The output function of splitmix64: each bit of the input flips about half of those of the output.
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        const COUNT: u64 = 20_000;
        let moments = |draw: &dyn Fn(u64) -> f64| {
            let mean = (0..COUNT).map(draw).sum::<f64>() / COUNT as f64;
            (mean, (0..COUNT).map(|index| (draw(index) - mean).powi(2)).sum::<f64>() / COUNT as f64)
        };
        for stream in 0..4 {
            let (mean, variance) = moments(&|index| uniform(7, stream, index));
            assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
            let (mean, variance) = moments(&|index| gaussian(7, stream, index));
            assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
            let (mean, variance) = moments(&|index| exponential(7, stream, index, 2.0));
            assert!((mean - 2.0).abs() < 0.05 && (variance - 4.0).abs() < 0.3, "{mean} {variance}");
        }
    }
}
