//! Goes through all pages of a home once: to scrub them, or to fill members that are being rebuilt.
//!
//! It may have the home for itself, as a client, or share it with another client. Whoever takes turns for both then hands
//! each operation that has ended to the one whose it is, and tells the mender how clients fare if it is to give way.

use bireme_control::raid::pace::{Foreground, Judged, Pace, Progress};
use bireme_control::units::Nanos;

use super::client::{ARRAY, Classes, Client, Share, Step};
use crate::engine::Mending;
use crate::message::Failure;
use crate::peer::{Pacer, Rate};
use crate::port::{Next, Port};
use crate::reservation::{Allowance, Class};
use crate::volume::home::{Ended, Home, Operation};

/// Mends the pages of one home.
#[derive(Debug)]
pub struct Mender {
    what: Mending,
    share: Share,
    /// The next page.
    page: Option<u64>,
    under_way: Vec<Operation>,
    pacer: Option<Pacer>,
    allowance: Option<Allowance>,
    gives_way: Option<GivesWay>,
    pages: u64,
}

/// Where the pace of a mender comes from that gives way.
#[derive(Debug)]
struct GivesWay {
    pace: Pace,
    /// The pacer's.
    rate: Rate,
    /// In this interval.
    progress: Progress,
}

impl Mender {
    /// For one home, at most so fast.
    pub fn new(what: Mending, share: Share, rate: Option<Rate>) -> Mender {
        let page = share.page_after(None);
        let under_way = Vec::with_capacity(AT_A_TIME);
        Mender { what, share, page, under_way, pacer: rate.map(Pacer::new), allowance: None, gives_way: None, pages: 0 }
    }

    /// For one home, as fast as the foreground permits, which is judged by [`Mender::judge`].
    pub fn giving_way(what: Mending, share: Share, pace: Pace) -> Mender {
        let rate = Rate::new(pace.rate());
        let gives_way = Some(GivesWay { pace, rate: rate.clone(), progress: Progress::default() });
        Mender { gives_way, ..Mender::new(what, share, Some(rate)) }
    }

    /// The same, within what its class may use.
    pub fn within(self, classes: &Classes) -> Mender {
        let class = if self.what == Mending::Scrub { Class::Scrub } else { Class::Rebuild };
        Mender { allowance: classes.allowance(class), ..self }
    }

    /// Pages that it has gone through.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Bytes of them.
    pub fn bytes(&self) -> u64 {
        self.pages * u64::from(self.share.page_bytes())
    }

    /// Whether it has gone through all pages.
    pub fn is_done(&self) -> bool {
        self.is_idle() && self.page.is_none()
    }

    /// Whether nothing that it has asked for is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether it has asked for this operation.
    pub fn owns(&self, operation: Operation) -> bool {
        self.under_way.contains(&operation)
    }

    /// How the foreground was judged, if this gives way to it.
    pub fn judged(&self) -> Option<Judged> {
        self.gives_way.as_ref().map(|way| way.pace.judged())
    }

    /// Takes back one of its operations, which has ended.
    ///
    /// # Errors
    /// That of the operation.
    pub fn take<P: Port>(&mut self, home: &mut Home<P>, ended: Ended) -> Result<(), Failure> {
        self.under_way.retain(|&operation| operation != ended.operation);
        home.end(ended.operation);
        ended.result?;
        self.pages += 1;
        Ok(())
    }

    /// Starts the next pages, as far as the pacer permits; until when it does not otherwise.
    pub fn start<P: Port>(&mut self, home: &mut Home<P>, now: Nanos) -> Option<Nanos> {
        while self.under_way.len() < AT_A_TIME
            && let Some(page) = self.page
        {
            if let Some(until) = self.pacer.as_ref().and_then(|pacer| pacer.holds_until(now)) {
                return Some(self.held(until));
            }
            let operation = home.begin()?;
            let page_bytes = u64::from(self.share.page_bytes());
            let allowed = self.allowance.as_mut().map(|all| all.take(now, std::iter::once(ARRAY), page_bytes));
            if let Some(Err(until)) = allowed {
                home.end(operation);
                return Some(self.held(until));
            }
            match self.what {
                Mending::Scrub => home.scrub(operation, page),
                Mending::Rebuild => home.rebuild(operation, page),
            }
            if let Some(pacer) = &mut self.pacer {
                pacer.spend(now, self.share.page_bytes());
            }
            if let Some(way) = &mut self.gives_way {
                way.progress.worked = true;
            }
            self.under_way.push(operation);
            self.page = self.share.page_after(Some(page));
        }
        None
    }

    /// At the end of an interval, lets the pace follow from what `foreground` has found in it, until all is done.
    pub fn judge(&mut self, now: Nanos, foreground: impl FnOnce() -> Foreground) {
        if self.is_done() {
            return;
        }
        if let Some(way) = &mut self.gives_way
            && way.pace.is_due(now)
        {
            way.pace.step(now, foreground(), way.progress);
            way.rate.set(way.pace.rate());
            way.progress = Progress { worked: !self.under_way.is_empty(), held: false };
        }
    }

    /// The pacer holds it back until then; or until it is judged, as it may go on at once when the foreground has ended.
    fn held(&mut self, until: Nanos) -> Nanos {
        let Some(way) = &mut self.gives_way else { return until };
        way.progress.held = true;
        way.pace.due().map_or(until, |due| until.min(due))
    }
}

impl<P: Port> Client<P> for Mender {
    fn turn(&mut self, home: &mut Home<P>, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        while let Some(ended) = home.reap() {
            self.take(home, ended)?;
        }
        self.judge(now, Foreground::default);
        let held = if stopping { None } else { self.start(home, now) };
        Ok(match held {
            _ if self.is_done() || stopping && self.is_idle() => Step::Done,
            Some(until) => Step::Held(until),
            None => Step::On(Next::Event),
        })
    }
}

/// Operations that it has under way: one page is read while the one before is written.
pub const AT_A_TIME: usize = 2;
