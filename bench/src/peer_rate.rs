//! Rates of single peers as operators write them: `1=400MiB/s`.

use bireme_control::units::PeerId;

use crate::size;

/// What one peer moves per second at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRate {
    /// Which.
    pub peer: PeerId,
    /// Bytes per second.
    pub bytes: u64,
}

/// One rate; an error is a sentence.
pub fn parse(text: &str) -> Result<PeerRate, String> {
    let bad =
        || format!("'{text}' is no rate of a peer: write its number from 0 and a size per second, such as 1=400MiB");
    let (peer, rate) = text.split_once('=').ok_or_else(bad)?;
    let peer = peer.trim().parse().map(PeerId).map_err(|_| bad())?;
    let rate = rate.trim();
    let bytes = size::parse(rate.strip_suffix("/s").unwrap_or(rate)).map_err(|error| error.to_string())?;
    if bytes == 0 {
        return Err(format!("'{text}' would stop {peer} for ever: write at least 1MiB or so"));
    }
    Ok(PeerRate { peer, bytes })
}

/// The rates by peer, of so many; `option` is what they were given with, and an error is a sentence.
pub fn by_peer(option: &str, list: &[PeerRate], peers: u16) -> Result<Vec<Option<u64>>, String> {
    let mut rates = Vec::new();
    for &PeerRate { peer, bytes } in list {
        check_peer(option, peer, peers)?;
        rates.resize(rates.len().max(peer.index() + 1), None);
        if rates[peer.index()].replace(bytes).is_some() {
            return Err(format!("{option} names {peer} twice: leave one out"));
        }
    }
    Ok(rates)
}

/// Whether there is such a peer; an error is a sentence.
pub fn check_peer(option: &str, peer: PeerId, peers: u16) -> Result<(), String> {
    if peer.0 >= peers {
        let last = peers.saturating_sub(1);
        return Err(format!("{option} names {peer}, but the last one is {last}: lower it, or raise --peers"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_names_its_peer_once() {
        let rate = |peer, mib: u64| PeerRate { peer: PeerId(peer), bytes: mib << 20 };
        assert_eq!(parse("1=400MiB"), Ok(rate(1, 400)));
        assert_eq!(parse(" 2 = 1GiB/s"), Ok(rate(2, 1024)));
        for text in ["400MiB", "x=400MiB", "-1=1MiB", "1=", "1=400MB", "1=0"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(by_peer("--peer-rate", &[rate(1, 1), rate(0, 2)], 2), Ok(vec![Some(2 << 20), Some(1 << 20)]));
        assert_eq!(by_peer("--peer-rate", &[], 2), Ok(vec![]));
        let absent = by_peer("--throttle-peer", &[rate(2, 1)], 2).expect_err("there are two");
        assert_eq!(absent, "--throttle-peer names peer 2, but the last one is 1: lower it, or raise --peers");
        assert!(by_peer("--peer-rate", &[rate(1, 1), rate(1, 1)], 2).expect_err("twice").contains("peer 1 twice"));
    }
}
