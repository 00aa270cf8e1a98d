//! Mending a pool: what is wrong or missing on the devices is found by reading everything, and written.
//!
//! ```text
//!   mend          the newest set, window by window: read with all parity and copies, mend, flush, raise the watermark
//!   mend_volume   a volume, page by page at its homes
//!   end_rebuild   the watermark to the lowest frame that is not done; when all are, the members count again
//! ```
//!
//! A member that refuses to be read too often, or to be written, is failed before anything else is noted, and the others
//! are mended without it: what lies on it is as old as it is, and nobody believes it.
//!
//! A rebuild that was cut short goes on at the watermark: what lies below is whole, and what was done above is done again.

use super::restoring::{Numbered, Read, Wanted, outcome, read_set};
use super::volumes::mender::Mender;
use super::volumes::{Served, VolumeJob, serve};
use super::{Config, Ended, EngineError, Handles, Opened, failed, files, main_port, open};
use crate::device::Device;
use crate::job::Mend;
use crate::ledger::store::SetRecord;
use crate::message::Failure;
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

/// Mends the newest set of a pool.
///
/// # Errors
/// A sentence for the operator. The set is as readable as it was.
pub fn mend(job: MendJob, config: &Config, handles: &Handles) -> Ended {
    let mut opened = open(job.devices, config.hang_limit, Pool::open)?;
    opened.pool.use_member_order();
    let health = opened.pool.health();
    let kind = if job.what == Mending::Scrub { Kind::Scrub } else { Kind::Rebuild };
    let set = opened.pool.newest_set();
    let mut pages = set.map_or(Ok(Vec::new()), |set| numbered(&opened.pool, set))?;
    if job.what == Mending::Rebuild {
        pages.retain(|(_, page)| page.frame >= health.watermark);
    }
    let mut port = main_port(&files(&opened.devices), opened.origin, &Bells::new(1), Bell(0), config.hang_limit)?;
    let mut read = Read::nothing(&opened.pool, config)?;
    let window = (WINDOW_BYTES / u64::from(opened.pool.geometry().page_bytes())).max(1);
    let windows = pages.chunks(usize::try_from(window).unwrap_or(usize::MAX));
    let mut done = 0;
    for (set, window) in windows.filter_map(|window| Some((set?, window))) {
        let mend = match job.what {
            Mending::Scrub => Mend::Damage,
            Mending::Rebuild => Mend::Members(opened.pool.health().rebuilding),
        };
        let wanted = Wanted { set, pages: window, output: None, mend, consequence: CONSEQUENCE };
        let mut next = read_set(&opened, &wanted, config, handles)?;
        for (member, failure) in std::mem::take(&mut next.losses) {
            next.notes.push(lose(&mut opened.pool, member, failure, &mut port)?);
        }
        read.add(next);
        done += window.len();
        if job.what == Mending::Rebuild {
            let left = pages[done..].iter().map(|(_, page)| page.frame);
            let floor = left.chain(volume_frames(&opened.pool, &[])?).min();
            opened.pool.set_watermark(floor.unwrap_or(opened.pool.layout().frames()), &mut port)?;
        }
    }
    handles.gauges.set_done();
    let outcome = outcome(kind, &opened.pool, set, read, config);
    opened.pool.close(&mut port)?;
    Ok(outcome)
}

/// A member was lost on the way: it is failed durably before the watermark may say that something on it is whole. The answer
/// says why; the error, that what is left is not worth going on.
fn lose(pool: &mut Pool, member: u16, failure: Failure, port: &mut Uring) -> Result<String, EngineError> {
    let (paths, filled) = (pool.paths().to_vec(), pool.health().rebuilding);
    let sentence = failure.sentence(&paths, None);
    if pool.check_failing(member).is_err() {
        return Err(failed(failure, &paths, None, CONSEQUENCE.to_owned()));
    }
    let health = pool.fail(member, port)?;
    let consequence = if health.rebuilding.contains(member) {
        "a spare has taken its place: rebuild it".to_owned()
    } else if filled.contains(member) && health.rebuilding.is_empty() {
        "it counts as failed, and nothing is left to be filled: replace it (bireme array replace)".to_owned()
    } else {
        return Ok(sentence);
    };
    Err(EngineError::Failed { sentence, consequence })
}

/// Mends a volume.
///
/// # Errors
/// A sentence for the operator.
pub fn mend_volume(
    devices: Vec<Device>,
    name: &str,
    what: Mending,
    config: &Config,
    handles: &Handles,
) -> Result<Served<Mender>, EngineError> {
    let job = VolumeJob { devices, name: name.to_owned(), operation_bytes: OPERATION_BYTES, data_file: None };
    let rate = config.peer_rates.first().cloned().flatten();
    serve(job, config, handles, |share, classes| Mender::new(what, share, rate.clone()).within(classes))
}

/// Notes that the set and these volumes are whole on the members that are being rebuilt. When all volumes are, the members
/// count again; `true` then.
///
/// # Errors
/// A sentence for the operator.
pub fn end_rebuild(devices: Vec<Device>, done: &[String], config: &Config) -> Result<bool, EngineError> {
    let Opened { mut pool, devices, origin } = open(devices, config.hang_limit, Pool::open)?;
    let mut port = main_port(&files(&devices), origin, &Bells::new(1), Bell(0), config.hang_limit)?;
    pool.use_member_order();
    let floor = volume_frames(&pool, done)?.into_iter().min();
    match floor {
        Some(frame) => pool.set_watermark(frame, &mut port)?,
        None => pool.rebuilt(&mut port)?,
    }
    pool.close(&mut port)?;
    Ok(floor.is_none())
}

fn numbered(pool: &Pool, set: SetRecord) -> Result<Vec<Numbered>, PoolError> {
    Ok((0..).zip(pool.store().pages(set.number).map_err(PoolError::Store)?).collect())
}

/// The frames of volumes that are not done yet.
fn volume_frames(pool: &Pool, done: &[String]) -> Result<Vec<u64>, PoolError> {
    let watermark = pool.health().watermark;
    let mut frames = Vec::new();
    for volume in pool.store().volumes().map_err(PoolError::Store)? {
        if !done.contains(&volume.name) {
            frames.extend(pool.store().volume_frames(volume.id).map_err(PoolError::Store)?);
        }
    }
    frames.retain(|&frame| frame >= watermark);
    Ok(frames)
}

const CONSEQUENCE: &str = "what was found until then is mended, and the set is as readable as it was";
/// Between two notes of the watermark: some seconds of work.
const WINDOW_BYTES: u64 = 8 << 30;
/// Menders move pages, not operations.
const OPERATION_BYTES: u32 = 64 << 10;
