//! What the metadata says, for readers that are not this program.

use serde::Serialize;

use super::{Config, EngineError, Opened, failed, open};
use crate::device::Device;
use crate::message::Failure;
use crate::pool::Pool;

/// A pool's metadata, as [`metadata`] found it.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    /// The pool's name.
    pub pool: String,
    /// The committed sets, oldest first.
    pub sets: Vec<Set>,
}

/// One committed set.
#[derive(Clone, Debug, Serialize)]
pub struct Set {
    /// Its number in the pool.
    pub number: u64,
    /// Bytes of data.
    pub bytes: u64,
    /// What the tags of its leaves carry.
    pub generation: u64,
    /// The frame and the root of each page, in order; a root is written in hexadecimal, as JSON knows no 64-bit integers.
    pub pages: Vec<(u64, String)>,
}

/// Reads the metadata of the pool on these devices, and writes nothing.
///
/// # Errors
/// A sentence for the operator.
pub fn metadata(devices: Vec<Device>) -> Result<Metadata, EngineError> {
    let Opened { pool, .. } = open(devices, Config::default().hang_limit, Pool::open_read_only)?;
    let unreadable = |failure| failed(Failure::Store(failure), pool.paths(), None, "nothing was read".to_owned());
    let mut sets = Vec::new();
    for set in pool.store().sets().map_err(unreadable)? {
        let pages = pool.store().pages(set.number).map_err(unreadable)?;
        let pages = pages.iter().map(|page| (page.frame, format!("{:016x}", page.root))).collect();
        sets.push(Set { number: set.number, bytes: set.bytes, generation: set.generation, pages });
    }
    Ok(Metadata { pool: pool.name(), sets })
}
