//! Spans of time as operators write them: `500us`, `2ms`, `1s`, `5m`, `2h`.

use bireme_control::units::Nanos;

/// The span that a text stands for; an error is a sentence.
pub fn parse(text: &str) -> Result<Nanos, String> {
    let bad = || format!("'{text}' is no time: write a whole number with us, ms, s, m or h, such as 500us or 2ms");
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(bad()),
    };
    let nanos = number.parse::<u64>().map_err(|_| bad())?.checked_mul(factor);
    nanos.filter(|&nanos| nanos > 0).map(Nanos).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        for (text, want) in [("500us", 500_000), (" 2 ms ", 2_000_000), ("1s", 1_000_000_000), ("2m", 120_000_000_000)]
        {
            assert_eq!(parse(text), Ok(Nanos(want)), "{text}");
        }
        for text in ["", "2", "ms", "0ms", "1.5ms", "-1s", "2d", "99999999999999999999s", "20000000000s", "2µs"] {
            assert!(parse(text).is_err_and(|sentence| sentence.contains("500us")), "{text}");
        }
    }
}
