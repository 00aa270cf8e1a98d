//! What a report says about a device, so that its figures can be understood elsewhere.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use super::identity::{Identity, sysfs};
use super::{Alignment, Device, Kind, loops};

/// Facts about one device; what the kernel does not tell is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceFacts {
    /// As the operator named it.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The usable size.
    pub bytes: u64,
    /// The unit in which it addresses its bytes.
    pub logical_block_bytes: u32,
    /// The unit in which it writes without reading first.
    pub physical_block_bytes: Option<u32>,
    /// What transfers must be multiples of.
    pub alignment: Alignment,
    /// The maker's name for it.
    pub model: Option<String>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// The kernel's I/O scheduler.
    pub scheduler: Option<String>,
    /// How many requests the kernel queues to it.
    pub queue_depth: Option<u32>,
    /// Whether completions can be polled for.
    pub io_poll: Option<bool>,
    /// `write back` if it may lose what it has not been told to flush, otherwise `write through`.
    pub write_cache: Option<String>,
    /// Whether it has a moving head.
    pub rotational: Option<bool>,
    /// The NUMA node that it is attached to.
    pub numa_node: Option<u32>,
    /// What a loop device stores its bytes in.
    pub backing_file: Option<PathBuf>,
    /// The number of the NVMe namespace, if requests go to it as commands.
    pub namespace: Option<u32>,
}

impl DeviceFacts {
    pub(super) fn of(device: &Device) -> DeviceFacts {
        let own = match device.identity() {
            Identity::Block(number) => sysfs(number),
            Identity::File { .. } => None,
        };
        // A partition has the queue and the model of its disk.
        let disk = own.as_deref().map(|own| match own.parent() {
            Some(parent) if own.join("partition").exists() => parent,
            _ => own,
        });
        let text = |name: &str| read_text(&disk?.join(name));
        let flag = |name: &str| text(name).map(|value| value != "0");
        DeviceFacts {
            path: device.path().into(),
            kind: device.kind(),
            bytes: device.bytes(),
            logical_block_bytes: device.logical_block_bytes(),
            physical_block_bytes: text("queue/physical_block_size").and_then(number),
            alignment: device.alignment(),
            model: text("device/model"),
            firmware: text("device/firmware_rev").or_else(|| text("device/rev")),
            scheduler: text("queue/scheduler").map(|choices| chosen(&choices).into()),
            queue_depth: text("queue/nr_requests").and_then(number),
            io_poll: flag("queue/io_poll"),
            write_cache: text("queue/write_cache"),
            rotational: flag("queue/rotational"),
            // The kernel writes -1 for no node, which is no number here.
            numa_node: text("device/numa_node").or_else(|| text("device/device/numa_node")).and_then(number),
            backing_file: disk.and_then(loops::backing_file),
            namespace: device.namespace().map(|namespace| namespace.id),
        }
    }
}

fn read_text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number<T: FromStr>(text: String) -> Option<T> {
    text.parse().ok()
}

/// `[none] mq-deadline` -> `none`
fn chosen(choices: &str) -> &str {
    let chosen = choices.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or(choices, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_in_brackets_is_the_chosen_one() {
        for (choices, want) in [("[none] mq-deadline", "none"), ("none [kyber] bfq", "kyber"), ("none", "none")] {
            assert_eq!(chosen(choices), want);
        }
    }
}
