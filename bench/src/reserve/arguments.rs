//! Values of options, as operators write them. Errors are sentences.

use bireme_control::reservation::Scheme;

use super::{Service, Situation};
use crate::size;

/// Bytes per second: a size, with or without `/s`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let rate = size::parse(trimmed.strip_suffix("/s").unwrap_or(trimmed)).map_err(|error| error.to_string())?;
    if rate < RATE_MIN {
        return Err(format!(
            "'{text}' is no rate of a link: write at least {}, such as 500MiB/s",
            size::print(RATE_MIN)
        ));
    }
    Ok(rate)
}

/// A request's size.
pub fn parse_request(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    if !(REQUEST_MIN..=REQUEST_MAX).contains(&bytes) {
        let [least, most] = [REQUEST_MIN, REQUEST_MAX].map(size::print);
        return Err(format!("'{text}' is no size of a request: write {least} to {most}"));
    }
    Ok(bytes)
}

/// Weights of classes, the lowest class first: `1:2:3`.
pub fn parse_weights(text: &str) -> Result<Vec<u32>, String> {
    let bad = || {
        format!("'{text}' are no weights: write 2 to {CLASSES_MAX} whole numbers from 1 to {WEIGHT_MAX}, such as 1:2:3")
    };
    let weight = |text: &str| text.trim().parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    let weights: Vec<u32> = text.split(':').map(weight).collect::<Option<_>>().ok_or_else(bad)?;
    if (2..=CLASSES_MAX).contains(&weights.len()) { Ok(weights) } else { Err(bad()) }
}

/// A scheme as operators write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of ours.
    Scheme(Scheme),
    /// Caps of the kernel's blkio controller.
    Blkio,
}

/// `epoch`, `tags`, `none` or `blkio`.
pub fn parse_scheme(text: &str) -> Result<Choice, String> {
    match text.trim() {
        "none" => Ok(Choice::Scheme(Scheme::None)),
        "epoch" => Ok(Choice::Scheme(Scheme::Epoch)),
        "tags" => Ok(Choice::Scheme(Scheme::Tags)),
        "blkio" => Ok(Choice::Blkio),
        _ => Err(format!("'{text}' is no scheme: write none, epoch, tags or blkio")),
    }
}

/// A situation by its name. The high class alone belongs to the flood: one is nothing without the other.
pub fn parse_situations(text: &str) -> Result<&'static [Situation], String> {
    match text.trim() {
        "flood" => Ok(&[Situation::Alone, Situation::Flood]),
        "backlogged" => Ok(&[Situation::Backlogged]),
        "on-off" => Ok(&[Situation::OnOff]),
        "many" => Ok(&[Situation::Many]),
        _ => Err(format!("'{text}' is no scenario: write flood, backlogged, on-off or many")),
    }
}

/// `sharing` or `fifo`.
pub fn parse_service(text: &str) -> Result<Service, String> {
    match text.trim() {
        "sharing" => Ok(Service::Sharing),
        "fifo" => Ok(Service::Fifo),
        _ => Err(format!("'{text}' is no way to serve: write sharing or fifo")),
    }
}

/// Below that, a request takes longer than anybody simulates.
const RATE_MIN: u64 = 1 << 10;
const REQUEST_MIN: u64 = 512;
const REQUEST_MAX: u64 = 1 << 30;
const CLASSES_MAX: usize = 256;
const WEIGHT_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_understood_or_refused_with_a_sentence() {
        assert_eq!(parse_rate("500MiB/s"), Ok(500 << 20));
        assert_eq!(parse_rate(" 500000000 "), Ok(500_000_000));
        for text in ["", "500MB/s", "0", "1023", "x"] {
            assert!(parse_rate(text).is_err_and(|sentence| sentence.contains("write")), "{text}");
        }
        assert_eq!(parse_request("4KiB"), Ok(4096));
        assert!(parse_request("511").is_err() && parse_request("2GiB").is_err());
        assert_eq!(parse_weights("1:2: 3"), Ok(vec![1, 2, 3]));
        for text in ["", "1", "1:0", "1:-1", "1:x", "1:1.5", "1:10001"] {
            assert!(parse_weights(text).is_err_and(|sentence| sentence.contains("1:2:3")), "{text}");
        }
        assert_eq!(parse_scheme("tags"), Ok(Choice::Scheme(Scheme::Tags)));
        assert!(parse_scheme("tag").is_err_and(|sentence| sentence.contains("none, epoch, tags or blkio")));
        assert_eq!(parse_situations("flood"), Ok(&[Situation::Alone, Situation::Flood][..]));
        assert!(parse_situations("alone").is_err());
        assert_eq!(parse_service("fifo"), Ok(Service::Fifo));
        assert!(parse_service("lifo").is_err());
    }
}
