//! Sizes as operators write and read them: `4096`, `64KiB`, `1 GiB`.
//!
//! Only units of 1024 are taken. `64K` and `64KB` mean 64,000 to some tools and 65,536 to others, so they are refused
//! with a sentence instead of being guessed.

use bireme_control::units::Nanos;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No whole number in front.
    #[error("'{0}' is no size: write a whole number of bytes, or one with KiB, MiB, GiB or TiB, such as 64KiB")]
    Number(String),
    /// A unit of 1000, or one that is read both ways.
    #[error("'{0}' could be counted in thousands or in 1024s: write KiB, MiB, GiB or TiB, which count in 1024s")]
    Ambiguous(String),
    /// More than 64 bits.
    #[error("'{0}' is more than 16 EiB: write a smaller size")]
    TooLarge(String),
}

/// The bytes that a text stands for.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::Number(text.to_owned()));
    }
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "k" | "m" | "g" | "t" | "kb" | "mb" | "gb" | "tb" => return Err(SizeError::Ambiguous(text.to_owned())),
        _ => return Err(SizeError::Number(text.to_owned())),
    };
    let product = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    product.ok_or_else(|| SizeError::TooLarge(text.to_owned()))
}

/// A size with the largest unit that leaves at least 1: `512 KiB`, `1.5 GiB`, `3.29 GiB`.
pub fn print(bytes: u64) -> String {
    match UNITS.iter().find(|&&(scale, _)| bytes >= scale) {
        Some(&(scale, unit)) => format!("{} {unit}", digits(bytes as f64 / scale as f64)),
        None => format!("{bytes} B"),
    }
}

/// A rate in MiB/s, or in GiB/s from 10 GiB/s on.
pub fn print_rate(bytes_per_second: f64) -> String {
    let mib = bytes_per_second / (1u64 << 20) as f64;
    if mib >= 10_240.0 { format!("{} GiB/s", digits(mib / 1024.0)) } else { format!("{} MiB/s", digits(mib)) }
}

/// A number of things with few digits: `950`, `312k`, `1.25M`.
pub fn print_count(value: f64) -> String {
    // What would be rounded up to a thousand is one of the next unit.
    let (scale, unit) = THOUSANDS.into_iter().find(|(scale, _)| value >= scale * 0.9995).unwrap_or((1.0, ""));
    format!("{}{unit}", digits(value / scale))
}

/// Bytes per second; 0 when no time has passed.
pub fn rate(bytes: u64, elapsed: Nanos) -> f64 {
    if elapsed == Nanos::ZERO { 0.0 } else { bytes as f64 * 1e9 / elapsed.0 as f64 }
}

/// At least three significant digits, without zeros behind the point.
pub(crate) fn digits(value: f64) -> String {
    let places = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    let text = format!("{value:.places$}");
    if places == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

const THOUSANDS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_units_of_1024() {
        #[rustfmt::skip]
        let cases = [("0", 0), ("4096", 4096), ("512b", 512), ("64KiB", 65536), (" 1 gib ", 1 << 30), ("3584MiB", 3584 << 20),
                     ("16777215TiB", 16_777_215 << 40)];
        for (text, want) in cases {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5GiB", "1 furlong", "0x10", "1GiBs", "\u{0}", "é"] {
            assert_eq!(parse(text), Err(SizeError::Number(text.to_owned())));
        }
        for text in ["64K", "64kb", "1 G", "2TB"] {
            assert_eq!(parse(text), Err(SizeError::Ambiguous(text.to_owned())));
        }
        for text in ["16777216TiB", "18446744073709551616"] {
            assert_eq!(parse(text), Err(SizeError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn sizes_are_printed_with_few_digits() {
        #[rustfmt::skip]
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (524_288, "512 KiB"), (3 << 29, "1.5 GiB"),
                     (3584 << 20, "3.5 GiB"), (1 << 40, "1 TiB"), ((1 << 20) + 4096, "1 MiB"), (12_345_678, "11.8 MiB"),
                     (100 << 20, "100 MiB")];
        for (bytes, want) in cases {
            assert_eq!(print(bytes), want);
        }
        let counts = [0.0, 12.4, 950.0, 999.9, 312_456.0, 1_250_000.0, 3e12].map(print_count);
        assert_eq!(counts, ["0", "12.4", "950", "1k", "312k", "1.25M", "3000G"]);
        assert_eq!(print_rate(rate(1 << 30, Nanos::from_millis(500))), "2048 MiB/s");
        assert_eq!(print_rate(rate(64 << 30, Nanos::from_secs(2))), "32 GiB/s");
        assert_eq!(print_rate(rate(1, Nanos::ZERO)), "0 MiB/s");
    }
}
