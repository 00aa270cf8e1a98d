//! What a peer knows about its own work: where its time went, how long requests took, how many were under way.
//!
//! ```text
//!   peer ---> Stopwatch, Latencies, Depth   owned by one thread, read when the run has ended
//!        |--> Gauges                        shared, relaxed; read by the live line while the run goes on
//!        '--> recorder: Interval            owned by one thread at a time, handed over when its time is up
//! ```
//!
//! Everything is allocated when it is built. On the data path a record is an addition to an array.

mod depth;
mod gauges;
mod hand_overs;
mod healed;
mod latencies;
pub mod recorder;
mod stopwatch;

pub use depth::Depth;
pub use gauges::Gauges;
pub use hand_overs::HandOvers;
pub use healed::{Healed, Healings};
pub use latencies::{Latencies, LatencySummary};
pub use stopwatch::{State, Stopwatch, TimeStates};
