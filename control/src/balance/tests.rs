//! The machines together: what no table of one decider shows.
//!
//! - `golden`: the reference method's traces, to the tick.
//! - `closed_loop`: every strategy in a small world with time, against the integer optimum.
//! - `properties`: any order of events and letters, with deaths: nothing is lost, nothing is owned twice, all of it ends.
//! - `script`: one machine, told what happens step by step.

mod closed_loop;
mod golden;
mod properties;
mod scramble;
mod script;
mod world;
