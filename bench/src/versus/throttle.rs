//! A cap on each device's writes: this process moves into a control group of its own, and its children inherit it.

use std::path::PathBuf;

use crate::blkio::{DeviceNumber, Group};

/// The cap is on as long as this lives.
#[derive(Debug)]
pub(crate) struct Throttle {
    _group: Group,
}

impl Throttle {
    /// Caps each device at `bytes_per_second`.
    pub(crate) fn start(devices: &[PathBuf], bytes_per_second: u64) -> Result<Throttle, String> {
        let numbers = devices.iter().map(|path| DeviceNumber::of(path, OPTION)).collect::<Result<Vec<_>, _>>()?;
        let group = Group::new("bireme-versus", OPTION)?;
        numbers.iter().try_for_each(|number| group.cap(number, Some(bytes_per_second)))?;
        group.take_process()?;
        Ok(Throttle { _group: group })
    }
}

const OPTION: &str = "--throttle";
