//! Crashes of volumes, enumerated: what power cuts can leave of a short story, and what recovery makes of it.
//!
//! - [`disks`]: disks in memory, and a port that notes what it was asked. [`contents`]: what blocks hold.
//! - [`states`]: what a crash can leave of a trace.
//! - [`rows`]: every crash of two changes to one row, for the rules of the small-write log.
//! - [`arrays`]: crashes of whole arrays of all levels.

pub mod arrays;
pub mod contents;
pub mod disks;
pub mod rows;
pub mod states;
