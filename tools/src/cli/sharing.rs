//! How peers share the work, as operators write it.

use bireme_bench::peer_rate::{self, PeerRate};
use bireme_control::balance::{Minimum, Rules, Strategy};
use bireme_control::units::Permille;
use bireme_dataplane::engine::Config;
use clap::{Args, ValueEnum};

/// The part of the line on balance.
#[derive(Args, Clone, Debug)]
pub struct Sharing {
    /// How peers share the pages of a set.
    #[arg(long, value_enum, default_value_t = Balance::Measured)]
    pub balance: Balance,
    /// With --balance ratio: hand nothing over that is not more than this many pages, or than this part of the set, such
    /// as 2%; "auto" derives it from how long a hand-over takes. More than 1 % of the set makes the ratios learn worse.
    /// Default: 1.
    #[arg(long, value_name = "N|PERCENT|auto", value_parser = minimum)]
    pub minimum: Option<Minimum>,
    /// With --balance ratio: by how much a ratio is moved at once, such as 2.5%. Default: 5%.
    #[arg(long, value_name = "PERCENT", value_parser = increment)]
    pub increment: Option<Permille>,
    /// Start as if nothing were known of how fast the peers are: what earlier runs have learnt is not used.
    #[arg(long)]
    pub forget: bool,
    /// For experiments: let peer N, counted from 0, move at most this much per second, such as 1=400MiB; several with
    /// commas between, or repeat it.
    #[arg(long = "peer-rate", value_name = "N=SIZE", value_delimiter = ',', value_parser = peer_rate::parse)]
    pub peer_rates: Vec<PeerRate>,
}

impl Sharing {
    /// The rules; an error is a sentence.
    pub fn rules(&self) -> Result<Rules, String> {
        let option = self.minimum.map(|_| "--minimum").or(self.increment.map(|_| "--increment"));
        if let (Some(option), true) = (option, self.balance != Balance::Ratio) {
            return Err(format!("{option} has a meaning with --balance ratio only: add that, or leave {option} out"));
        }
        let Rules { minimum, increment, .. } = Config::default().rules;
        Ok(Rules {
            strategy: self.balance.strategy(),
            minimum: self.minimum.unwrap_or(minimum),
            increment: self.increment.unwrap_or(increment),
            ..Config::default().rules
        })
    }

    /// The rates by peer, of so many; an error is a sentence.
    pub fn rates(&self, peers: u16) -> Result<Vec<Option<u64>>, String> {
        peer_rate::by_peer("--peer-rate", &self.peer_rates, peers)
    }
}

/// How peers share the pages of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Balance {
    /// Who runs dry is given as much as its measured speed calls for; speeds are learnt from set to set.
    Measured,
    /// Who runs dry is given a ratio of what the other has left; ratios are moved in steps by what happened before.
    Ratio,
    /// Who runs dry is given half of what the other has left.
    StealHalf,
    /// All take the next pages from one place.
    Pull,
    /// Equal parts beforehand, whatever happens.
    Fixed,
}

impl Balance {
    fn strategy(self) -> Strategy {
        match self {
            Balance::Measured => Strategy::Measured,
            Balance::Ratio => Strategy::Ratio,
            Balance::StealHalf => Strategy::StealHalf,
            Balance::Pull => Strategy::Pull,
            Balance::Fixed => Strategy::Fixed,
        }
    }
}

fn minimum(text: &str) -> Result<Minimum, String> {
    let bad = || format!("'{text}' is no minimum: write a number of pages, a part of the set such as 2%, or auto");
    match text {
        "auto" => Ok(Minimum::Delay),
        _ if text.ends_with('%') => percent(text).map(Minimum::Share).ok_or_else(bad),
        _ => text.parse().map(Minimum::Transfers).map_err(|_| bad()),
    }
}

fn increment(text: &str) -> Result<Permille, String> {
    let increment = percent(text).filter(|increment| increment.get() > 0);
    increment.ok_or_else(|| format!("'{text}' is no increment: write 0.1% to 100%, such as 5%"))
}

/// Percents with at most one digit behind the point.
fn percent(text: &str) -> Option<Permille> {
    let number = text.strip_suffix('%')?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(tenth) || tenth.len() != 1 {
        return None;
    }
    let tenths = whole.parse::<u16>().ok()?.checked_mul(10)?.checked_add(tenth.parse().ok()?)?;
    Permille::new(tenths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn sharing(line: &str) -> Result<Sharing, String> {
        let line = format!("bireme offload {line}");
        match Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?.command {
            Command::Offload(offload) => Ok(offload.sharing),
            _ => panic!("an offload"),
        }
    }

    fn share(permille: u16) -> Permille {
        Permille::new(permille).expect("a share")
    }

    #[test]
    fn without_options_it_is_measured_and_nothing_is_limited() {
        let sharing = sharing("").expect("a good line");
        assert_eq!(sharing.rules(), Ok(Config::default().rules));
        assert_eq!(sharing.rules().expect("rules").strategy, Strategy::Measured);
        assert_eq!((sharing.rates(2), sharing.forget), (Ok(vec![]), false));
    }

    #[test]
    fn rules_are_read() {
        #[rustfmt::skip]
        let cases = [
            // line,                                       strategy,            minimum,                  increment
            ("--balance pull",                             Strategy::Pull,      Minimum::Transfers(1),    50),
            ("--balance fixed",                            Strategy::Fixed,     Minimum::Transfers(1),    50),
            ("--balance steal-half",                       Strategy::StealHalf, Minimum::Transfers(1),    50),
            ("--balance measured",                         Strategy::Measured,  Minimum::Transfers(1),    50),
            ("--balance ratio",                            Strategy::Ratio,     Minimum::Transfers(1),    50),
            ("--balance ratio --minimum 4",                Strategy::Ratio,     Minimum::Transfers(4),    50),
            ("--balance ratio --minimum auto",             Strategy::Ratio,     Minimum::Delay,           50),
            ("--balance ratio --minimum 2% --increment 10%", Strategy::Ratio,   Minimum::Share(share(20)), 100),
            ("--balance ratio --increment 2.5%",           Strategy::Ratio,     Minimum::Transfers(1),    25),
        ];
        for (line, strategy, minimum, increment) in cases {
            let rules = sharing(line).and_then(|sharing| sharing.rules()).expect(line);
            assert_eq!(
                (rules.strategy, rules.minimum, rules.increment.get()),
                (strategy, minimum, increment),
                "{line}"
            );
        }
        assert!(sharing("--forget").expect("a good line").forget);
    }

    #[test]
    fn rates_are_read_with_commas_and_repeated() {
        let mib = |count: u64| Some(count << 20);
        #[rustfmt::skip]
        let cases = [
            ("--peer-rate 1=400MiB",                  vec![None, mib(400)]),
            ("--peer-rate 1=400MiB/s",                vec![None, mib(400)]),
            ("--peer-rate 2=1MiB,0=3MiB",             vec![mib(3), None, mib(1)]),
            ("--peer-rate 2=1MiB --peer-rate 0=3MiB", vec![mib(3), None, mib(1)]),
        ];
        for (line, want) in cases {
            assert_eq!(sharing(line).and_then(|sharing| sharing.rates(3)).expect(line), want, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_is_answered_with_what_to_write() {
        #[rustfmt::skip]
        let cases = [
            ("--balance best",                          "possible values: measured, ratio, steal-half, pull, fixed"),
            ("--balance ratio --minimum few",           "such as 2%, or auto"),
            ("--balance ratio --minimum 101%",          "such as 2%, or auto"),
            ("--balance ratio --minimum 1.25%",         "such as 2%, or auto"),
            ("--balance ratio --increment 5",           "such as 5%"),
            ("--balance ratio --increment 0%",          "0.1% to 100%"),
            ("--balance ratio --increment 99999999%",   "such as 5%"),
            ("--balance ratio --increment +5%",         "such as 5%"),
            ("--minimum 2",                             "with --balance ratio only"),
            ("--balance pull --increment 5%",           "with --balance ratio only"),
            ("--peer-rate 400MiB",                      "such as 1=400MiB"),
            ("--peer-rate x=400MiB",                    "such as 1=400MiB"),
            ("--peer-rate 1=400MB",                     "write KiB, MiB, GiB or TiB"),
            ("--peer-rate 1=0",                         "would stop peer 1"),
            ("--peer-rate 3=1MiB",                      "names peer 3, but the last one is 2"),
            ("--peer-rate 1=1MiB,1=2MiB",               "names peer 1 twice"),
        ];
        for (line, want) in cases {
            let answer = sharing(line).and_then(|sharing| sharing.rules().and(sharing.rates(3)));
            let error = answer.expect_err(line);
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
