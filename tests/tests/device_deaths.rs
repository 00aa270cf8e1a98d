//! Devices that die in the middle of runs.

use bireme_tests::fuse_disk::{Failing, FuseDisk};
use bireme_tests::loops::root_or_skip;

#[test]
fn a_disk_dies_and_leaves_nothing() {
    use std::os::unix::fs::FileExt;
    if !root_or_skip("x") { return; }
    for what in Failing::ALL {
        let mut disk = FuseDisk::new(env!("CARGO_BIN_EXE_fuse-disk").as_ref(), 64 << 20);
        println!("{:?} {:?}", disk.path().to_owned(), disk.count());
        let file = std::fs::OpenOptions::new().read(true).write(true).open(disk.path()).unwrap();
        let t = std::time::Instant::now();
        let data = vec![5u8; 1 << 20];
        for i in 0..32u64 { file.write_all_at(&data, i << 20).unwrap(); }
        file.sync_all().unwrap();
        println!("32 MiB in {:?}, {:?}", t.elapsed(), disk.count());
        disk.fail(what, 3);
        let w = (0..8u64).map(|i| file.write_all_at(&data, i << 20).is_ok() as u8).collect::<Vec<_>>();
        println!("{what:?} {w:?} sync {:?} {:?}", file.sync_all(), disk.count());
        drop(file);
    }
}
