//! The client of one home: its workload, and beside it the rebuild of the home's pages where there is one.
//!
//! ```text
//!   home ── ended ──▶ whose is it? ──▶ Workload ── how long it took ──▶ this interval's p99
//!                            └───────▶ Mender   ◀── pace ─────────────────────┘
//! ```
//!
//! The workload works for its time. What is left of the rebuild then goes on alone. When the last home's rebuild has ended
//! before, the workloads of all are parted: what they count from then on is what clients see after a rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bireme_control::raid::pace::{Foreground, Judged, Pace};
use bireme_control::units::Nanos;
use bireme_dataplane::engine::Mending;
use bireme_dataplane::engine::volumes::client::{Classes, Share};
use bireme_dataplane::engine::volumes::mender::Mender;
use bireme_dataplane::engine::volumes::{Client, Step};
use bireme_dataplane::message::Failure;
use bireme_dataplane::peer::Rate;
use bireme_dataplane::port::{Next, Port};
use bireme_dataplane::telemetry::Latencies;
use bireme_dataplane::volume::home::Home;

use super::workload::Workload;
use crate::recording::recorder::Recorder;

/// The client of one home.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) workload: Workload,
    pub(super) rebuild: Option<Rebuild>,
    /// Of the run that is reported.
    pub(super) recorder: Option<Recorder>,
}

/// The rebuild of one home's pages.
#[derive(Debug)]
pub(super) struct Rebuild {
    mender: Mender,
    /// Homes whose rebuild goes on.
    going_on: Arc<AtomicU16>,
    /// What the workload has seen in this interval.
    interval: Latencies,
    began: Option<Nanos>,
    ended: Option<Nanos>,
    /// When the workload has ended, and the bytes that were done by then.
    alone: Option<(Nanos, u64)>,
}

/// How fast a rebuild may be, at each home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speed {
    /// Bytes per second.
    pub(super) most: Option<u64>,
    /// The p99 of the workload above which it gives way.
    pub(super) target: Option<Nanos>,
}

/// What a rebuild has done at one home, or at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Beside the workload.
    pub(super) bytes_beside: u64,
    pub(super) beside: Nanos,
    /// After it.
    pub(super) bytes_alone: u64,
    pub(super) alone: Nanos,
    /// Intervals in which the workload was judged.
    pub(super) judged: Judged,
}

impl Rebuild {
    pub(super) fn new(share: Share, classes: &Classes, speed: Speed, going_on: &Arc<AtomicU16>) -> Rebuild {
        let mender = match speed.target {
            Some(target) => Mender::giving_way(Mending::Rebuild, share, Pace::new(target, speed.most)),
            None => Mender::new(Mending::Rebuild, share, speed.most.map(Rate::new)),
        };
        let mender = mender.within(classes);
        going_on.fetch_add(1, Ordering::Relaxed);
        let (going_on, interval) = (going_on.clone(), Latencies::new());
        Rebuild { mender, going_on, interval, began: None, ended: None, alone: None }
    }

    /// What it has done at the end.
    pub(super) fn progress(&self) -> Progress {
        let began = self.began.unwrap_or_default();
        let ended = self.ended.unwrap_or(began);
        let (alone, bytes_beside) = self.alone.unwrap_or((ended, self.mender.bytes()));
        Progress {
            bytes_beside,
            beside: ended.min(alone).since(began),
            bytes_alone: self.mender.bytes() - bytes_beside,
            alone: ended.since(alone),
            judged: self.mender.judged().unwrap_or_default(),
        }
    }

    /// Starts what may be started; until when the rest must wait.
    fn go_on<P: Port>(&mut self, home: &mut Home<P>, now: Nanos, workload: &mut Workload) -> Option<Nanos> {
        self.began.get_or_insert(now);
        if self.mender.is_done() && self.ended.is_none() {
            self.ended = Some(now);
            self.going_on.fetch_sub(1, Ordering::Relaxed);
        }
        if self.going_on.load(Ordering::Relaxed) == 0 {
            workload.part(now);
        }
        if !workload.is_busy() {
            self.alone.get_or_insert((now, self.mender.bytes()));
        }
        let interval = &mut self.interval;
        self.mender.judge(now, || {
            let oldest = workload.oldest().map_or(Nanos::ZERO, |asked| now.since(asked).max(Nanos(1)));
            let foreground = Foreground { ended: interval.count(), p99: interval.percentile(99_000), oldest };
            interval.clear();
            foreground
        });
        self.mender.start(home, now)
    }
}

impl<P: Port> Client<P> for Worker {
    fn turn(&mut self, home: &mut Home<P>, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_once(now);
            recorder.tick(now);
        }
        while let Some(ended) = home.reap() {
            match &mut self.rebuild {
                Some(rebuild) if rebuild.mender.owns(ended.operation) => {
                    let before = rebuild.mender.bytes();
                    rebuild.mender.take(home, ended)?;
                    if let Some(recorder) = &mut self.recorder {
                        recorder.current().mended += rebuild.mender.bytes() - before;
                    }
                }
                rebuild => {
                    let taken = self.workload.take(home, now, ended)?;
                    if let (Some(rebuild), Some(_)) = (rebuild, taken.direction) {
                        rebuild.interval.record(taken.took);
                    }
                    if let Some(recorder) = &mut self.recorder {
                        let current = recorder.current();
                        match taken.direction.map(|direction| &mut current.directions[direction as usize]) {
                            None => current.flushes.record(taken.took),
                            Some(figures) => {
                                figures.service.record(taken.took);
                                figures.bytes += taken.bytes;
                            }
                        }
                    }
                }
            }
        }
        let mut held = None;
        if stopping {
            self.workload.stop();
        } else {
            self.workload.start(home, now);
            let rebuild = self.rebuild.as_mut().and_then(|rebuild| rebuild.go_on(home, now, &mut self.workload));
            held = rebuild.into_iter().chain(self.workload.held()).min();
        }
        let has_rebuilt = self.rebuild.as_ref().is_none_or(|rebuild| match stopping {
            true => rebuild.mender.is_idle(),
            false => rebuild.ended.is_some(),
        });
        Ok(match held {
            _ if has_rebuilt && !self.workload.is_busy() => {
                if let Some(mut recorder) = self.recorder.take() {
                    recorder.finish(now);
                }
                Step::Done
            }
            Some(until) => Step::Held(until),
            None => Step::On(Next::Event),
        })
    }
}

impl Progress {
    /// That of all homes together: they work at the same time.
    pub(super) fn of_all(homes: impl Iterator<Item = Progress>) -> Progress {
        homes.fold(Progress::default(), |sum, home| Progress {
            bytes_beside: sum.bytes_beside + home.bytes_beside,
            beside: sum.beside.max(home.beside),
            bytes_alone: sum.bytes_alone + home.bytes_alone,
            alone: sum.alone.max(home.alone),
            judged: Judged {
                intervals: sum.judged.intervals + home.judged.intervals,
                exceeded: sum.judged.exceeded + home.judged.exceeded,
            },
        })
    }
}
