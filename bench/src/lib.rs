//! Bireme's measures: what a run reports to people and to programs, and comparisons with other tools.
//!
//! - [`recording`]: histograms by interval, and the files that they go to.
//! - [`report`]: an outcome as a table and as JSON. [`environment`]: where it was measured.
//! - [`mod@array`]: one volume on real devices under reads and writes.
//! - [`balance`]: the strategies of balance against each other.
//! - [`mod@device`]: devices under a load. [`ladder`]: what each layer costs.
//! - [`reserve`]: the schemes of bandwidth reservation against each other.
//! - [`parity`]: parity and checksums on one core, beside ISA-L; its `isal` is the only unsafe code here.
//! - [`class`]: what classes are promised, as operators write it.
//! - [`mod@compare`]: whether two sets of runs differ. [`display`]: the line that says how a run goes.
//! - [`throttled`]: limits on CPU time that were felt.
//! - [`size`], [`duration`]: sizes and times as operators write them. [`peer_rate`]: rates of single peers.
//! - [`versus`]: the same bytes through fio and Bireme in turn.

pub mod array;
pub mod balance;
mod blkio;
pub mod class;
pub mod compare;
pub mod device;
pub mod display;
pub mod duration;
pub mod environment;
pub mod ladder;
pub mod parity;
pub mod peer_rate;
mod random;
pub mod recording;
pub mod report;
pub mod reserve;
mod signals;
pub mod size;
pub mod throttled;
pub mod versus;
