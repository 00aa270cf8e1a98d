//! Where bytes lie on the members of an array, and how a change to them is written.
//!
//! - [`level`]: the RAID levels and what each demands.
//! - [`health`]: which members can be relied on.
//! - [`geometry`]: the mapping from chunks to members and rows, and back.
//! - [`members`]: sets of members.
//! - [`pace`]: how fast a rebuild may be beside what clients ask for.
//! - [`write_choice`]: what to read and what to write for a change of some blocks.

pub mod geometry;
pub mod health;
pub mod level;
pub mod members;
pub mod pace;
pub mod write_choice;
