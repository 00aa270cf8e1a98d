//! Goes through all pages of a home once: to scrub them, or to fill members that are being rebuilt.

use bireme_control::units::Nanos;

use super::client::{Client, Share, Step};
use crate::engine::Mending;
use crate::message::Failure;
use crate::peer::{Pacer, Rate};
use crate::port::{Next, Port};
use crate::volume::home::{Home, Operation};

/// Mends the pages of one home.
#[derive(Debug)]
pub struct Mender {
    what: Mending,
    share: Share,
    /// The next page.
    page: Option<u64>,
    under_way: Vec<Operation>,
    pacer: Option<Pacer>,
    pages: u64,
}

impl Mender {
    /// For one home, at most so fast.
    pub fn new(what: Mending, share: Share, rate: Option<Rate>) -> Mender {
        let page = share.page_after(None);
        Mender { what, share, page, under_way: Vec::new(), pacer: rate.map(Pacer::new), pages: 0 }
    }

    /// Pages that it has gone through.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Bytes of them.
    pub fn bytes(&self) -> u64 {
        self.pages * u64::from(self.share.page_bytes())
    }

    /// The next page, if the pacer permits; until when it does not otherwise.
    fn start<P: Port>(&mut self, home: &mut Home<P>, now: Nanos) -> Option<Nanos> {
        while self.under_way.len() < AT_A_TIME
            && let Some(page) = self.page
        {
            if let Some(until) = self.pacer.as_ref().and_then(|pacer| pacer.holds_until(now)) {
                return Some(until);
            }
            let operation = home.begin()?;
            match self.what {
                Mending::Scrub => home.scrub(operation, page),
                Mending::Rebuild => home.rebuild(operation, page),
            }
            if let Some(pacer) = &mut self.pacer {
                pacer.spend(now, self.share.page_bytes());
            }
            self.under_way.push(operation);
            self.page = self.share.page_after(Some(page));
        }
        None
    }
}

impl<P: Port> Client<P> for Mender {
    fn turn(&mut self, home: &mut Home<P>, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        while let Some(ended) = home.reap() {
            self.under_way.retain(|&operation| operation != ended.operation);
            home.end(ended.operation);
            ended.result?;
            self.pages += 1;
        }
        let held = if stopping { None } else { self.start(home, now) };
        Ok(match held {
            _ if self.under_way.is_empty() && (stopping || self.page.is_none()) => Step::Done,
            Some(until) => Step::On(Next::At(until)),
            None => Step::On(Next::Event),
        })
    }
}

/// One page is read while the one before is written.
const AT_A_TIME: usize = 2;
