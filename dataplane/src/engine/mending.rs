//! Mending a pool: its set is read with all parity and copies, and what is wrong or missing on the devices is written.

use super::restoring::{Read, Wanted, outcome, read_set};
use super::{Config, Ended, Handles, Opened, files, main_port, open};
use crate::device::Device;
use crate::job::Mend;
use crate::outcome::Kind;
use crate::pool::Pool;
use crate::pool::error::PoolError;
use crate::port::Bell;
use crate::port::uring::{Bells, Uring};

/// What is put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mending {
    /// Blocks that are not what was written.
    Scrub,
    /// The same, and all that the members lack that are being rebuilt.
    Rebuild,
}

/// What to mend.
#[derive(Debug)]
pub struct MendJob {
    /// The members in any order.
    pub devices: Vec<Device>,
    /// What is put right.
    pub what: Mending,
}

/// Mends the newest set of a pool. When all of it is durable, `then` may change the state of members, and the pool is
/// closed.
///
/// # Errors
/// A sentence for the operator. The set is as readable as it was.
pub fn mend(
    job: MendJob,
    config: &Config,
    handles: &Handles,
    then: impl FnOnce(&mut Pool, &mut Uring) -> Result<(), PoolError>,
) -> Ended {
    let opened = open(job.devices, config.hang_limit, Pool::open)?;
    let (mend, kind) = match job.what {
        Mending::Scrub => (Mend::Damage, Kind::Scrub),
        Mending::Rebuild => (Mend::Members(opened.pool.health().rebuilding), Kind::Rebuild),
    };
    let consequence = "what was found until then is mended, and the set is as readable as it was";
    let set = opened.pool.newest_set();
    let read = match set {
        Some(set) => read_set(&opened, &Wanted { set, output: None, mend, consequence }, config, handles)?,
        None => Read::nothing(&opened.pool, config)?,
    };
    handles.gauges.set_done();
    let outcome = outcome(kind, &opened.pool, set, read, config);
    let Opened { mut pool, devices, origin } = opened;
    let mut port = main_port(&files(&devices), origin, &Bells::new(1), Bell(0), config.hang_limit)?;
    pool.use_member_order();
    then(&mut pool, &mut port)?;
    pool.close(&mut port)?;
    Ok(outcome)
}
