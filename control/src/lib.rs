//! Everything Bireme decides, as pure functions of their arguments.
//!
//! Nothing here does I/O, reads a clock, starts a thread or uses unsafe code, and every figure is an integer: a recorded
//! run replays to the same decisions, and the simulation drives the production code.
//!
//! ```text
//!   Controller::step(now, &observation) -> orders     each period, on the control thread: parameters only
//!   Machine::handle(now, event) -> action             inside the turn of the peer that owns the subject
//! ```
//!
//! - [`units`]: bytes, times, shares and ids as types of their own.
//! - [`balance`]: how peers share the transfers of a data set.
//! - [`controller`]: the parameters that are set anew each period.
//! - [`reservation`]: who may use how much of each link.
//! - [`raid`]: where the bytes of a frame lie on the members of an array.

pub mod balance;
pub mod controller;
pub mod raid;
pub mod reservation;
pub mod units;
