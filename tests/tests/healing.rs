//! Damage on levels with redundancy: restore heals it in memory and says so, and mending puts it right on the devices.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, Handles, MendJob, Mending};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::outcome::Outcome;
use bireme_dataplane::telemetry::Gauges;
use bireme_tests::command::{Line, contents};
use bireme_tests::data::{assert_same, generated};
use bireme_tests::members::Files;
use serde_json::Value;

const MEMBER_BYTES: u64 = 16 << 20;
const DATA_BYTES: usize = (3 << 20) + 5000;
const PAGE_BYTES: u64 = 1 << 20;
const CHUNK_BYTES: u64 = 16 << 10;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

/// A pool with one set on files.
struct Pool {
    files: Files,
    layout: Layout,
    /// The frame of each page.
    frames: Vec<u64>,
}

impl Pool {
    fn new(level: Level, number: u32, members: u32) -> Pool {
        let files = Files::new(members, MEMBER_BYTES);
        let options = format!(
            "offload --raid {number} --size {DATA_BYTES} --seed 8 --chunk {CHUNK_BYTES} --page {PAGE_BYTES} --slot 256KiB"
        );
        bireme(&options).devices(files.paths()).run().good();
        let export = bireme("export").devices(files.paths()).run().good();
        let export: Value = serde_json::from_str(&export).expect("JSON");
        let pages = export["sets"][0]["pages"].as_array().expect("pages");
        let frames = pages.iter().map(|page| page[0].as_u64().expect("a frame")).collect();
        let geometry = Geometry::new(level, members as usize, CHUNK_BYTES, PAGE_BYTES).expect("a usable shape");
        Pool { files, layout: Layout::new(geometry, MEMBER_BYTES).expect("room"), frames }
    }

    /// Changes one byte of a member.
    fn flip(&self, member: usize, offset: u64) {
        let file = File::options().read(true).write(true).open(&self.files.paths()[member]).expect("a member");
        let mut byte = [0];
        let read = file.read_exact_at(&mut byte, offset);
        read.and_then(|()| file.write_all_at(&[byte[0] ^ 0x10], offset)).expect("changed");
    }

    /// Data of two pages and leaves of a third, on one member.
    fn damage(&self, member: usize) {
        self.flip(member, self.layout.data_offset(self.frames[0]) + 5);
        self.flip(member, self.layout.data_offset(self.frames[1]) + 100_000);
        self.flip(member, self.layout.leaf_offset(self.frames[2]) + 8);
    }

    fn mend(&self, what: Mending) -> Outcome {
        let devices = Device::open_all(self.files.paths(), Purpose::Write).expect("free files");
        let gauges = Arc::new(Gauges::new(self.files.paths().len()));
        let handles = Handles { gauges, stop: Arc::new(AtomicBool::new(false)) };
        engine::mend(MendJob { devices, what }, &Config::default(), &handles).expect("mended")
    }
}

#[test]
fn damage_is_healed_in_memory_and_mended_on_the_devices() {
    let shapes = [
        (Level::Raid1, 1, 2),
        (Level::Raid10, 10, 3),
        (Level::Raid5, 5, 4),
        (Level::Raid6, 6, 5),
        (Level::Raid0, 0, 2),
    ];
    for (level, number, members) in shapes {
        let pool = Pool::new(level, number, members);
        let sound = contents(pool.files.paths());
        pool.damage(1);
        let damaged = contents(pool.files.paths());
        let output = pool.files.folder().join("output");
        let restore = bireme("restore --json -").path("--output", &output).devices(pool.files.paths()).run();
        assert!(contents(pool.files.paths()) == damaged, "{level}: restore has written to the devices");
        if level == Level::Raid0 {
            assert!(restore.sentence().contains("damages data"), "{level} has nothing to heal from");
            continue;
        }
        let json: Value = serde_json::from_str(&restore.good()).expect("JSON");
        let found = std::fs::read(&output).expect("the output");
        assert_same(&found, &generated(8, 1, DATA_BYTES), &format!("{level}, healed"));
        let blocks = |member: usize| json["devices"][member]["blocks_damaged"].as_u64().expect("a count");
        assert!(blocks(0) == 0 && (1..=3).contains(&blocks(1)), "{level}: {json:#}");
        let notes = json["notes"].to_string();
        assert!(notes.contains("`bireme array scrub` mends"), "{notes}");

        let outcome = pool.mend(Mending::Scrub);
        assert_eq!(outcome.devices[1].healed.damaged, 3, "{level}");
        let (first, last) = (pool.layout.leaf_offset(0), MEMBER_BYTES - (64 << 10));
        let range = usize::try_from(first).expect("small")..usize::try_from(last).expect("small");
        let mended = contents(pool.files.paths());
        for ((path, want), (_, found)) in sound.iter().zip(&mended) {
            assert!(want[range.clone()] == found[range.clone()], "{level}: {} is not as it was", path.display());
        }
        assert_eq!(pool.mend(Mending::Scrub).devices[1].healed.damaged, 0, "{level}");
        bireme("restore --verify").devices(pool.files.paths()).run().good();
    }
}

#[test]
fn what_two_members_have_lost_is_named_where_one_may_be() {
    let pool = Pool::new(Level::Raid5, 5, 3);
    let at = pool.layout.data_offset(pool.frames[2]);
    pool.flip(0, at + 5);
    pool.flip(1, at + 5);
    let output = pool.files.folder().join("output");
    let sentence = bireme("restore").path("--output", &output).devices(pool.files.paths()).run().sentence();
    assert!(sentence.contains(&format!("at byte {at} does not hold what was written there (page 2 of")), "{sentence}");
    assert!(!output.exists());
}
