//! The lab goes up, comes down, and touches nothing that it did not make.

use std::path::Path;

use bireme_dataplane::device::{Device, Purpose};
use bireme_tests::loops::{Loops, Place, root_or_skip};
use bireme_tools::lab::{self, LabError, Options};
use bireme_tools::loop_device;

/// Takes the lab down also when the test panics.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = lab::down(self.0) {
            eprintln!("{error}");
        }
    }
}

fn options(folder: &Path, count: u32, tmpfs: bool) -> Options {
    Options { folder: folder.into(), count, bytes: 8 << 20, block_bytes: 4096, tmpfs }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("the folder").next().is_none()
}

#[test]
fn up_and_down_on_disk_and_in_memory() {
    if !root_or_skip("up_and_down_on_disk_and_in_memory") {
        return;
    }
    for tmpfs in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let _down = Down(folder.path());
        let up = lab::up(&options(folder.path(), 3, tmpfs)).expect("a lab");
        assert_eq!((up.devices.len(), up.notes.len()), (3, 0), "{:?}", up.notes);
        let devices = Device::open_all(&up.devices, Purpose::Write).expect("three devices");
        assert!(matches!(lab::up(&options(folder.path(), 1, tmpfs)), Err(LabError::Exists { .. })));
        drop(devices);
        let down = lab::down(folder.path()).expect("down");
        assert_eq!((down.detached.len(), down.removed.len(), down.busy.len()), (3, 3, 0), "{down:?}");
        assert!(is_empty(folder.path()));
        let again = lab::down(folder.path()).expect("down again");
        assert!(again.detached.is_empty() && again.removed.is_empty());
    }
}

#[test]
fn an_open_device_is_reported_and_goes_later() {
    if !root_or_skip("an_open_device_is_reported_and_goes_later") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let _down = Down(folder.path());
    let up = lab::up(&options(folder.path(), 2, true)).expect("a lab");
    let held = Device::open(&up.devices[0], Purpose::Write).expect("a device");
    let down = lab::down(folder.path()).expect("down");
    assert_eq!((down.busy.as_slice(), down.removed.len(), down.notes.len()), (&up.devices[..1], 1, 1), "{down:?}");
    drop(held);
    let down = lab::down(folder.path()).expect("down");
    assert_eq!((down.busy.len(), down.removed.len()), (0, 1), "{down:?}");
    assert!(is_empty(folder.path()));
}

#[test]
fn half_an_up_is_rolled_back() {
    if !root_or_skip("half_an_up_is_rolled_back") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("lab");
    for bad in [
        Options { block_bytes: 1000, ..options(&place, 2, true) },
        Options { bytes: 1 << 50, ..options(&place, 2, false) },
        Options { bytes: u64::MAX, ..options(&place, 2, true) },
        options(&place, 0, false),
    ] {
        println!("{}", lab::up(&bad).expect_err("refused"));
        assert!(is_empty(folder.path()), "{bad:?}");
    }
}

#[test]
fn what_others_made_stays() {
    if !root_or_skip("what_others_made_stays") {
        return;
    }
    let others = Loops::new(Place::Disk, 1, 8 << 20, 4096);
    let _down = Down(others.folder());
    lab::up(&options(others.folder(), 1, false)).expect("a lab beside it");
    lab::down(others.folder()).expect("down");
    assert!(others.backing(0).exists());
    assert!(loop_device::list().iter().any(|device| device.path == others.path(0)));
}
