//! Every reason to refuse a device, on loop devices and the real kernel.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bireme_dataplane::device::{Device, DeviceError, Kind, Purpose};
use bireme_tests::loops::{Loops, Mount, Place, root_or_skip};

const BYTES: u64 = 8 << 20;

fn refusal<P: AsRef<Path>>(paths: &[P]) -> DeviceError {
    let error = Device::open_all(paths, Purpose::Write).expect_err("a refusal");
    println!("{error}");
    error
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().expect("the program runs");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn mkfs(path: &Path) {
    run("mkfs.ext4", &["-q", "-F"], path);
}

#[test]
fn free_devices_are_opened_and_held() {
    if !root_or_skip("free_devices_are_opened_and_held") {
        return;
    }
    for (place, block_bytes) in [(Place::Tmpfs, 4096), (Place::Disk, 512), (Place::Disk, 4096)] {
        let loops = Loops::new(place, 2, BYTES, block_bytes);
        let devices = Device::open_all(&loops.paths(), Purpose::Write).expect("two devices");
        for (index, device) in devices.iter().enumerate() {
            assert_eq!((device.bytes(), device.kind()), (BYTES, Kind::Block));
            assert_eq!(device.logical_block_bytes(), block_bytes);
            let alignment = device.alignment();
            assert!(alignment.known && alignment.offset == block_bytes, "{alignment:?}");
            let facts = device.facts();
            assert_eq!(facts.backing_file.as_deref(), Some(loops.backing(index)));
            assert!(facts.queue_depth.is_some() && facts.scheduler.is_some(), "{facts:?}");
        }
        // Five seconds each, as a claim without a cause is waited for; once is enough.
        if block_bytes == 512 {
            assert!(matches!(refusal(&[loops.path(0)]), DeviceError::Busy { .. }));
        }
        drop(devices);
        Device::open_all(&loops.paths(), Purpose::Read).expect("given up");
    }
}

#[test]
fn names_that_share_their_bytes() {
    if !root_or_skip("names_that_share_their_bytes") {
        return;
    }
    let mut loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
    let (device, file) = (loops.path(0).to_path_buf(), loops.backing(0).to_path_buf());
    let link = loops.folder().join("link");
    std::os::unix::fs::symlink(&device, &link).expect("a link");
    assert!(matches!(refusal(&[&device, &link]), DeviceError::SameDevice { .. }));
    assert!(matches!(refusal(&[&device, &file]), DeviceError::LoopAndBacking { .. }));
    assert!(matches!(refusal(&[&file, &device]), DeviceError::LoopAndBacking { .. }));
    assert!(matches!(refusal(&[&file]), DeviceError::UnderLoop { .. }));
    let twin = loops.attach(&file, 4096);
    assert!(matches!(refusal(&[&device, &twin]), DeviceError::SameBacking { .. }));
}

#[test]
fn a_backing_file_is_known_by_its_inode() {
    if !root_or_skip("a_backing_file_is_known_by_its_inode") {
        return;
    }
    let loops = Loops::new(Place::Disk, 1, BYTES, 512);
    let hard = loops.folder().join("hard");
    std::fs::hard_link(loops.backing(0), &hard).expect("a link");
    std::fs::remove_file(loops.backing(0)).expect("removed");
    assert!(matches!(refusal(&[&hard]), DeviceError::UnderLoop { .. }));
    assert!(matches!(refusal(&[loops.path(0), &hard]), DeviceError::LoopAndBacking { .. }));
}

#[test]
fn mounted_here_above_and_below() {
    if !root_or_skip("mounted_here_above_and_below") {
        return;
    }
    let mut loops = Loops::new(Place::Tmpfs, 1, BYTES, 512);
    let lower = loops.path(0).to_path_buf();
    mkfs(&lower);
    let upper = loops.attach(&lower, 512);
    let place = loops.folder().join("mounted here");
    {
        let _mount = Mount::ext4(&upper, &place);
        let error = refusal(&[&upper]);
        assert!(matches!(&error, DeviceError::Mounted { place: found, .. } if *found == place), "{error}");
        // The kernel would open this one exclusively.
        assert!(matches!(refusal(&[&lower]), DeviceError::UnderLoop { .. }));
    }
    let place = loops.folder().join("mounted below");
    let _mount = Mount::ext4(&lower, &place);
    let error = refusal(&[&upper]);
    assert!(matches!(&error, DeviceError::Mounted { subject, .. } if subject.contains("lies on")), "{error}");
}

#[test]
fn swap_is_refused() {
    if !root_or_skip("swap_is_refused") {
        return;
    }
    struct Swap<'a>(&'a Path);
    impl Drop for Swap<'_> {
        fn drop(&mut self) {
            run("swapoff", &[], self.0);
        }
    }
    let loops = Loops::new(Place::Disk, 1, BYTES, 4096);
    run("mkswap", &["-q"], loops.path(0));
    let status = Command::new("swapon").arg(loops.path(0)).output().expect("swapon runs");
    if !status.status.success() {
        println!("swap_is_refused skipped: {}", String::from_utf8_lossy(&status.stderr));
        return;
    }
    let _swap = Swap(loops.path(0));
    assert!(matches!(refusal(&[loops.path(0)]), DeviceError::Swap { .. }));
}

#[test]
fn read_only_devices_are_for_reading() {
    if !root_or_skip("read_only_devices_are_for_reading") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
    run("blockdev", &["--setro"], loops.path(0));
    assert!(matches!(refusal(&[loops.path(0)]), DeviceError::ReadOnly { .. }));
    Device::open(loops.path(0), Purpose::Read).expect("readable");
    drop(loops);
    // The mark outlives the detach; attaching clears it.
    let loops = Loops::new(Place::Tmpfs, 1, BYTES, 4096);
    Device::open(loops.path(0), Purpose::Write).expect("writable again");
}

#[test]
fn partition_tables_are_found_on_the_device() {
    if !root_or_skip("partition_tables_are_found_on_the_device") {
        return;
    }
    let loops = Loops::new(Place::Tmpfs, 2, BYTES, 512);
    let mut mbr = [0; 512];
    mbr[446..462].copy_from_slice(b"\x00\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00");
    mbr[510..].copy_from_slice(b"\x55\xaa");
    let write = |index, offset, bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().write(true).open(loops.path(index)).expect("the device");
        file.write_all_at(bytes, offset).and_then(|()| file.sync_all()).expect("written");
    };
    write(0, 0, &mbr);
    write(1, 512, b"EFI PART");
    for (index, name) in [(0, "MBR"), (1, "GPT")] {
        let error = refusal(&[loops.path(index)]);
        assert!(matches!(&error, DeviceError::Partitioned { found, .. } if found.contains(name)), "{error}");
    }
}

#[test]
fn what_holds_no_bytes_or_cannot_be_found() {
    if !root_or_skip("what_holds_no_bytes_or_cannot_be_found") {
        return;
    }
    let mut loops = Loops::new(Place::Tmpfs, 1, BYTES, 512);
    let small = loops.folder().join("small");
    std::fs::write(&small, vec![0; 2048]).expect("a file");
    let small = loops.attach(&small, 512);
    assert!(matches!(refusal(&[small]), DeviceError::Empty { bytes: 2048, .. }));
    assert!(matches!(refusal(&[PathBuf::from("/dev/loop-none")]), DeviceError::Missing { .. }));
    assert!(matches!(refusal(&[PathBuf::from("/dev/loop-control")]), DeviceError::WrongKind { .. }));
    // procfs has no O_DIRECT.
    assert!(matches!(refusal(&[PathBuf::from("/proc/self/comm")]), DeviceError::NoDirect { .. }));
}
