//! What operators write for a scenario: speeds, stalls and the minimum.

use bireme_control::balance::Minimum;
use bireme_control::units::Permille;
use serde::Serializer;

use crate::balance::{Contender, PEERS_MAX, Stall};

/// Speeds as `1:8` or `1:2.5:4`.
pub fn parse_speeds(text: &str) -> Result<Vec<f64>, String> {
    let usage = || format!("'{text}' is no list of speeds: write 2 to {PEERS_MAX} numbers such as 1:8 or 1:2.5:4");
    let speeds: Vec<f64> =
        text.split(':').map(|part| part.trim().parse()).collect::<Result<_, _>>().map_err(|_| usage())?;
    if !(2..=PEERS_MAX).contains(&speeds.len()) {
        return Err(usage());
    }
    if speeds.iter().any(|speed| !(SPEED_MIN..=SPEED_MAX).contains(speed)) {
        return Err(format!("a speed in '{text}' is out of bounds: write numbers from {SPEED_MIN} to {SPEED_MAX}"));
    }
    Ok(speeds)
}

/// Stalls as `permille:length`.
pub fn parse_stall(text: &str) -> Result<Stall, String> {
    let usage = || {
        format!(
            "'{text}' is no stall: write how many of a thousand transfers stall (at most 1000), and by how many \
                 transfers of the slowest peer (at most {AMOUNT_MAX}), such as 2:50"
        )
    };
    let (permille, length) = text.split_once(':').ok_or_else(usage)?;
    let permille = permille.trim().parse().ok().filter(|value| (0.0..=1000.0).contains(value)).ok_or_else(usage)?;
    let length = length.trim().parse().ok().filter(|value| (0.0..=AMOUNT_MAX).contains(value)).ok_or_else(usage)?;
    Ok(Stall { permille, length })
}

/// A number from 0 to the largest that the model takes: delays.
pub fn parse_amount(text: &str) -> Result<f64, String> {
    bounded(text, AMOUNT_MAX)
}

/// A number from 0 to the largest that the model takes: how much something scatters.
pub fn parse_scatter(text: &str) -> Result<f64, String> {
    bounded(text, SCATTER_MAX)
}

/// The minimum as a count, as a percentage of the set, or `auto`.
pub fn parse_minimum(text: &str) -> Result<Minimum, String> {
    let usage = || {
        format!(
            "'{text}' is no minimum: write a number of transfers, a percentage of the set such as 2%, or auto, \
                 which derives it from the delay of hand-overs"
        )
    };
    if text == "auto" {
        return Ok(Minimum::Delay);
    }
    match text.strip_suffix('%') {
        None => text.parse().map(Minimum::Transfers).map_err(|_| usage()),
        Some(percent) => {
            let (whole, tenths) = percent.split_once('.').unwrap_or((percent, "0"));
            let digits =
                |part: &str| part.parse::<u16>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
            let tenths = digits(tenths).filter(|&value| value < 10 && tenths.len() == 1);
            let thousandths =
                digits(whole).zip(tenths).and_then(|(whole, tenths)| whole.checked_mul(10)?.checked_add(tenths));
            thousandths.and_then(Permille::new).map(Minimum::Share).ok_or_else(usage)
        }
    }
}

/// A share in thousandths.
pub fn parse_permille(text: &str) -> Result<Permille, String> {
    let share = text.parse().ok().and_then(Permille::new);
    share.ok_or_else(|| format!("'{text}' is no share in thousandths: write a whole number from 0 to 1000"))
}

/// One of the contenders, by its name.
pub fn parse_contender(text: &str) -> Result<Contender, String> {
    let names = Contender::ALL.map(Contender::name);
    let found = Contender::ALL.into_iter().find(|contender| contender.name() == text);
    found.ok_or_else(|| format!("'{text}' is no strategy: choose from {}", names.join(", ")))
}

/// The minimum as operators write it.
pub fn print_minimum(minimum: Minimum) -> String {
    match minimum {
        Minimum::Transfers(transfers) => transfers.to_string(),
        Minimum::Share(share) if share.get() % 10 == 0 => format!("{}%", share.get() / 10),
        Minimum::Share(share) => format!("{}.{}%", share.get() / 10, share.get() % 10),
        Minimum::Delay => "auto".to_owned(),
    }
}

pub(super) fn serialize_minimum<S: Serializer>(minimum: &Minimum, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print_minimum(*minimum))
}

fn bounded(text: &str, most: f64) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=most).contains(value));
    value.ok_or_else(|| format!("'{text}' is out of bounds: write a number from 0 to {most}"))
}

// A thousand sets of a hundred thousand transfers, all of them stalled, still fit into 64 bits of nanoseconds.
const SPEED_MIN: f64 = 0.001;
const SPEED_MAX: f64 = 1000.0;
const AMOUNT_MAX: f64 = 1000.0;
const SCATTER_MAX: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_understood_or_refused_with_a_sentence() {
        assert_eq!(parse_speeds("1:8"), Ok(vec![1.0, 8.0]));
        assert_eq!(parse_speeds("1: 2.5:4"), Ok(vec![1.0, 2.5, 4.0]));
        for text in ["", "1", "1:0", "1:-1", "1:nan", "1:inf", "1:x", "1:", "1:1e9"] {
            assert!(parse_speeds(text).is_err_and(|sentence| sentence.contains("write")), "{text}");
        }
        assert!(parse_speeds(&["1"; 17].join(":")).is_err());
        let stall = parse_stall("2:50").expect("as in the help");
        assert_eq!((stall.permille, stall.length), (2.0, 50.0));
        for text in ["", "2", "2:", "1001:1", "-1:1", "2:nan", "2:1e9"] {
            assert!(parse_stall(text).is_err(), "{text}");
        }
        assert!(parse_amount("nan").is_err() && parse_amount("-0.1").is_err() && parse_scatter("1.1").is_err());
        assert_eq!(parse_amount("0.01"), Ok(0.01));
        assert_eq!(parse_contender("steal-half"), Ok(Contender::StealHalf));
        assert!(parse_contender("steal").is_err_and(|sentence| sentence.contains("steal-half")));
        assert!(parse_permille("1001").is_err() && parse_permille("50").is_ok());
    }

    #[test]
    fn a_minimum_is_read_as_it_is_printed() {
        for text in ["0", "1", "64", "2%", "0.5%", "100%", "auto"] {
            assert_eq!(parse_minimum(text).map(print_minimum).as_deref(), Ok(text));
        }
        for text in ["", "-1", "%", "101%", "1.55%", "+1%", "1.+5%", "7000%", "70000%", "half"] {
            assert!(parse_minimum(text).is_err(), "{text}");
        }
    }
}
