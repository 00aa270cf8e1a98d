//! Opening what is measured: every check before the first request.

use std::path::{Path, PathBuf};

use bireme_dataplane::device::{self, Device, Purpose, namespace};
use bireme_dataplane::engine::{Config, raw};

use super::load::{Data, Load};
use super::{Options, sentence};

/// The devices, or why they must not be used as the load would.
pub(super) fn open(options: &Options, load: &Load, config: &Config) -> Result<Vec<Device>, String> {
    if options.devices.iter().any(|path| device::is_null(path)) {
        if options.devices.len() > 1 {
            return Err("the null device is measured alone: name it without others".to_owned());
        }
        if options.iopoll {
            return Err("the null device has no queue that can be polled: leave --iopoll out".to_owned());
        }
        if load.mix.reads > 0 || load.mix.trims > 0 || load.data == Data::Verified {
            let takes =
                "the null device takes writes and keeps nothing: choose --rw write or randwrite, without --verify";
            return Err(takes.to_owned());
        }
        return Ok(vec![Device::open_null(&options.devices[0], NULL_BYTES).map_err(sentence)?]);
    }
    let purpose = if load.mix.changes() { Purpose::Write } else { Purpose::Read };
    // A namespace's character device is claimed and checked by its block device.
    let block: Vec<Option<PathBuf>> = options.devices.iter().map(|path| namespace::block_device(path)).collect();
    let paths: Vec<&Path> =
        options.devices.iter().zip(&block).map(|(own, block)| block.as_deref().unwrap_or(own)).collect();
    let mut devices = Device::open_all(&paths, purpose).map_err(sentence)?;
    for ((device, path), _) in devices.iter_mut().zip(&options.devices).zip(&block).filter(|(_, block)| block.is_some())
    {
        device.take_commands(path).map_err(sentence)?;
    }
    for device in &devices {
        device.check_read().map_err(sentence)?;
        let unit = device.alignment().offset.max(device.logical_block_bytes());
        if let Some((bytes, _)) = load.sizes.iter().find(|(bytes, _)| bytes % unit != 0) {
            let path = device.path().display();
            return Err(format!(
                "{path} takes multiples of {unit} bytes, and requests of {bytes} are asked for: see --bs"
            ));
        }
    }
    check_commands(&devices, load)?;
    if options.iopoll {
        check_polling(&devices, load, config)?;
    }
    if load.mix.changes() && !options.destroy_data {
        check_blank(&devices, config)?;
    }
    Ok(devices)
}

/// Devices that hold something are overwritten with permission only.
pub(crate) fn check_blank(devices: &[Device], config: &Config) -> Result<(), String> {
    let contents = raw::contents(devices, config).map_err(sentence)?;
    match devices.iter().zip(contents).find_map(|(device, content)| Some((device, content?))) {
        Some((device, content)) => {
            let path = device.path().display();
            Err(format!("{path} is not blank: it {content}; permit to overwrite it with --destroy-data"))
        }
        None => Ok(()),
    }
}

/// Commands past the block layer have bounds that requests through it have not.
fn check_commands(devices: &[Device], load: &Load) -> Result<(), String> {
    for device in devices.iter().filter(|device| device.namespace().is_some()) {
        let (path, largest) = (device.path().display(), load.largest());
        if let Some(most) = device.command_bytes_max().filter(|&most| largest > most) {
            return Err(format!(
                "{path} takes commands of at most {most} bytes, and requests of {largest} are asked for: see --bs"
            ));
        }
        if load.mix.trims > 0 {
            return Err(format!("{path} is not trimmed by commands: name its block device instead"));
        }
    }
    Ok(())
}

/// A ring that polls takes transfers and commands only.
fn check_polling(devices: &[Device], load: &Load, config: &Config) -> Result<(), String> {
    if load.mix.trims > 0 {
        return Err("a ring that polls takes no trims: leave out --iopoll".to_owned());
    }
    if load.flush_every.is_some() && devices.iter().any(|device| device.namespace().is_none()) {
        let why = "a ring that polls takes no flush: leave out --flush-every or --iopoll, or name the character device of an \
                   NVMe namespace (/dev/ng0n1), where a flush is a command like others";
        return Err(why.to_owned());
    }
    raw::try_polling(devices, config).map_err(sentence)
}

/// What the null device is taken to hold.
const NULL_BYTES: u64 = 1 << 30;
