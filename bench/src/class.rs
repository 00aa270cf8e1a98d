//! What classes are promised, as operators write it: `rebuild=reserve:50MiB/s,limit:200MiB/s,weight:2`.

use bireme_control::reservation::Terms;
use bireme_dataplane::reservation::{Class, InForce, Promises};
use clap::Args;

use crate::size;

/// A class and its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As the operator calls it.
    pub name: String,
    /// Bytes per second that it gets whenever it wants them, if any were named.
    pub reserve: Option<u64>,
    /// Bytes per second that it never exceeds.
    pub limit: Option<u64>,
    /// Its part of what is left.
    pub weight: Option<u32>,
}

impl Named {
    /// With what was not named as it is usual.
    pub fn terms(&self, usual: Terms) -> Terms {
        Terms {
            reserve: self.reserve.unwrap_or(usual.reserve),
            limit: self.limit.or(usual.limit),
            weight: self.weight.unwrap_or(usual.weight),
        }
    }
}

/// The part of the line on classes.
#[derive(Args, Clone, Debug, Default)]
pub struct Classes {
    /// What a class may use per second on each device (of a volume: of its data on the whole array), such as
    /// rebuild=limit:200MiB/s or foreground=reserve:1GiB/s,weight:8. Classes: scrub, rebuild, restore, offload, foreground.
    /// A reserve is kept, a limit is not exceeded, and what is left goes by weight (usually 1, 4, 16, 16, 64). Repeat it for
    /// more.
    #[arg(long = "class", value_name = "NAME=TERMS", value_parser = parse)]
    pub classes: Vec<Named>,
    /// What each device (of a volume: the whole array) can do per second, which reserve and weight are parts of. Nothing
    /// goes faster.
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub link_rate: Option<u64>,
}

impl Classes {
    /// What the engine is to keep; an error is a sentence.
    pub fn promises(&self) -> Result<Promises, String> {
        let mut given: Vec<(Class, Terms)> = Vec::new();
        for named in &self.classes {
            let class = Class::of(&named.name).ok_or_else(|| {
                let names = Class::ALL.map(Class::name).join(", ");
                format!("--class names '{}', and nothing here works for such a class: write one of {names}", named.name)
            })?;
            if given.iter().any(|(other, _)| *other == class) {
                return Err(format!("--class names {} twice: leave one out", named.name));
            }
            given.push((class, named.terms(Promises::usual(class))));
        }
        Promises::new(&given, self.link_rate).map_err(|error| error.to_string())
    }
}

/// What a class is held to, in a line of a report; `place` is where it holds.
pub fn line(held: &InForce, place: &str) -> String {
    let rate = |bytes: u64| size::print_rate(bytes as f64);
    let InForce { class, reserve, limit, weight, link_rate } = *held;
    let mut terms: Vec<String> = limit.map(|limit| format!("at most {}", rate(limit))).into_iter().collect();
    if reserve > 0 {
        terms.push(format!("{} reserved", rate(reserve)));
    }
    if link_rate.is_some() {
        terms.push(format!("weight {weight}"));
    }
    let of = link_rate.map(|link| format!(", of {}", rate(link))).unwrap_or_default();
    format!("class {class}: {}{of} {place}", terms.join(", "))
}

/// Where the classes of sets are held to their terms.
pub const EACH_DEVICE: &str = "on each device";
/// Where those of volumes are.
pub const WHOLE_ARRAY: &str = "of data on the whole array";

/// A class with its terms; an error is a sentence.
pub fn parse(text: &str) -> Result<Named, String> {
    let bad = |what: &str| {
        format!(
            "'{text}' says nothing of a class ({what}): write its name and terms, such as rebuild=limit:200MiB/s,weight:2"
        )
    };
    let (name, terms) = text.split_once('=').ok_or_else(|| bad("there is no '='"))?;
    if name.trim().is_empty() {
        return Err(bad("it has no name"));
    }
    let mut named = Named { name: name.trim().to_owned(), reserve: None, limit: None, weight: None };
    for term in terms.split(',') {
        let (what, value) = term.split_once(':').ok_or_else(|| bad(&format!("'{term}' has no ':'")))?;
        let is_new = match what.trim() {
            "reserve" => named.reserve.replace(rate(value)?).is_none(),
            "limit" => named.limit.replace(rate(value)?).is_none(),
            "weight" => {
                let weight = value.trim().parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
                let weight =
                    weight.ok_or_else(|| bad(&format!("a weight is a whole number from 1 to {WEIGHT_MAX}")))?;
                named.weight.replace(weight).is_none()
            }
            other => return Err(bad(&format!("'{other}' is none of reserve, limit and weight"))),
        };
        if !is_new {
            return Err(bad(&format!("{} is there twice", what.trim())));
        }
    }
    if let Some((reserve, limit)) = named.reserve.zip(named.limit)
        && reserve > limit
    {
        return Err(bad("its reserve is above its limit"));
    }
    Ok(named)
}

/// A size per second; the "/s" may be left out. An error is a sentence.
pub fn rate(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let bytes = size::parse(text.strip_suffix("/s").unwrap_or(text)).map_err(|error| error.to_string())?;
    if bytes == 0 { Err(format!("'{text}' would stop it for ever: write at least 1MiB/s or so")) } else { Ok(bytes) }
}

const WEIGHT_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_in_any_order_and_nothing_is_ignored() {
        let named = parse("rebuild=weight:3,reserve:50MiB/s,limit:200MiB").expect("good terms");
        let want =
            Named { name: "rebuild".to_owned(), reserve: Some(50 << 20), limit: Some(200 << 20), weight: Some(3) };
        assert_eq!(named, want);
        #[rustfmt::skip]
        let cases = [
            ("rebuild",                          "there is no '='"),
            ("=limit:1MiB",                      "has no name"),
            ("a=limit",                          "'limit' has no ':'"),
            ("a=speed:1MiB",                     "'speed' is none of"),
            ("a=weight:0",                       "from 1 to"),
            ("a=weight:2.5",                     "from 1 to"),
            ("a=limit:0",                        "would stop it for ever"),
            ("a=limit:1MB",                      "write KiB"),
            ("a=weight:1,weight:2",              "weight is there twice"),
            ("a=reserve:2MiB/s,limit:1MiB/s",    "above its limit"),
        ];
        for (text, want) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_in_force_is_told_in_a_line() {
        let told = |class, text: &[&str], link_rate| {
            let classes = text.iter().map(|text| parse(text).expect("good terms")).collect();
            let promises = Classes { classes, link_rate }.promises().expect("they can be kept");
            promises.in_force(class).map(|held| line(&held, EACH_DEVICE))
        };
        assert_eq!(told(Class::Offload, &[], None), None);
        #[rustfmt::skip]
        let cases: [(&[&str], Option<u64>, &str); 3] = [
            (&["offload=limit:200MiB/s"],                  None,          "class offload: at most 200 MiB/s on each device"),
            (&[],                                          Some(1 << 30), "class offload: weight 16, of 1024 MiB/s on each device"),
            (&["offload=reserve:50MiB,limit:90MiB,weight:3"], Some(1 << 30),
             "class offload: at most 90 MiB/s, 50 MiB/s reserved, weight 3, of 1024 MiB/s on each device"),
        ];
        for (terms, link_rate, want) in cases {
            assert_eq!(told(Class::Offload, terms, link_rate).as_deref(), Some(want));
        }
    }

    #[test]
    fn promises_are_of_classes_that_there_are() {
        let classes = |all: &[&str], link_rate| {
            let classes = all.iter().map(|text| parse(text).expect("good terms")).collect();
            Classes { classes, link_rate }.promises()
        };
        let limited = classes(&["rebuild=limit:200MiB/s"], None).expect("a limit needs nothing");
        assert_eq!(limited.of(Class::Rebuild), Terms { limit: Some(200 << 20), ..Promises::usual(Class::Rebuild) });
        assert!(classes(&["backup=limit:1MiB"], None).expect_err("no such class").contains("one of scrub, rebuild"));
        assert!(classes(&["scrub=limit:1MiB", "scrub=limit:2MiB"], None).expect_err("twice").contains("twice"));
        assert!(classes(&["scrub=reserve:1MiB/s"], None).expect_err("of what?").contains("--link-rate"));
        assert!(classes(&["scrub=reserve:1MiB/s"], Some(1 << 30)).is_ok());
    }
}
