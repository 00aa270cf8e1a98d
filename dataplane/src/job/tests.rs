//! Sets of every level written and read by one peer over simulated devices, whole, without members, and damaged.

mod levels;
mod lies;
mod mending;
mod refusals;
mod rig;
