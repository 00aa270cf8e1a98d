//! Limits that make the peers unequal and are taken back at the end: rates, and caps on one device.
//!
//! A capped peer's thread is in a control group of its own, so that the cap holds for what this peer writes to the one
//! device, and for nobody else. Each run has new threads, which join their groups before their first turn.

use std::sync::{Arc, OnceLock};

use bireme_control::units::PeerId;
use bireme_dataplane::engine::Config;
use bireme_dataplane::peer::Rate;

use super::Plan;
use super::options::THROTTLE;
use crate::blkio::{DeviceNumber, Group};

/// The peers are unequal as long as this lives.
#[derive(Debug)]
pub(super) struct Unequal {
    /// By peer, as asked for.
    rates: Vec<Option<u64>>,
    caps: Vec<Option<u64>>,
    /// By peer, as in effect.
    rates_now: Vec<Option<Rate>>,
    groups: Arc<[Option<Group>]>,
    device: Option<DeviceNumber>,
    /// The first thread that could not join its group.
    failure: Arc<OnceLock<String>>,
}

impl Unequal {
    /// Sets up what the plan asks for; an error leaves nothing behind.
    pub(super) fn start(plan: &Plan) -> Result<Unequal, String> {
        let by_peer = |list: &[Option<u64>]| {
            let mut list = list.to_vec();
            list.resize(usize::from(plan.peers), None);
            list
        };
        let (rates, caps) = (by_peer(&plan.rates), by_peer(&plan.caps));
        // Whoever may take over a limit from another needs the means for it from the start.
        let swaps = |peer: usize, limits: &[Option<u64>]| {
            plan.flip.is_some() && peer < 2 && limits[..2].iter().any(Option::is_some)
        };
        let is_limited = |peer: usize, limits: &[Option<u64>]| limits[peer].is_some() || swaps(peer, limits);
        let peers = 0..usize::from(plan.peers);
        let rate = |peer| is_limited(peer, &rates).then(|| Rate::new(rates[peer].unwrap_or(u64::MAX)));
        let rates_now = peers.clone().map(rate).collect();
        let is_capped = caps.iter().any(Option::is_some);
        let device = is_capped.then(|| DeviceNumber::of(&plan.capped_device, THROTTLE)).transpose()?;
        let group = |peer| {
            let name = format!("bireme-balance-peer{peer}");
            is_limited(peer, &caps).then(|| Group::new(&name, THROTTLE)).transpose()
        };
        let groups = peers.map(group).collect::<Result<Arc<[_]>, _>>()?;
        let failure = Arc::new(OnceLock::new());
        Ok(Unequal { rates, caps, rates_now, groups, device, failure })
    }

    /// Puts the limits into effect, those of peers 0 and 1 in each other's place after a flip.
    pub(super) fn set(&self, flipped: bool) -> Result<(), String> {
        let source = |peer: usize| if flipped && peer < 2 { 1 - peer } else { peer };
        for (peer, rate) in self.rates_now.iter().enumerate() {
            if let Some(rate) = rate {
                rate.set(self.rates[source(peer)].unwrap_or(u64::MAX));
            }
        }
        for (peer, group) in self.groups.iter().enumerate() {
            if let Some((group, device)) = group.as_ref().zip(self.device.as_ref()) {
                group.cap(device, self.caps[source(peer)])?;
            }
        }
        Ok(())
    }

    /// Makes the peers of a run unequal.
    pub(super) fn apply(&self, config: &mut Config) {
        config.peer_rates = self.rates_now.clone();
        let (groups, failure) = (Arc::clone(&self.groups), Arc::clone(&self.failure));
        config.on_peer_start = Some(Arc::new(move |peer: PeerId| {
            if let Some(Err(sentence)) = groups.get(peer.index()).and_then(Option::as_ref).map(Group::take_thread) {
                // The first one is told; more of them would say the same.
                let _ = failure.set(sentence);
            }
        }));
    }

    /// Whether every thread was where its cap holds; an error is a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        self.failure.get().map_or(Ok(()), |sentence| Err(sentence.clone()))
    }
}
