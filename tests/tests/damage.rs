//! One byte changed anywhere on a member: a restore names it, or heals it from a copy, and never gives wrong data.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_dataplane::layout::{Layout, zones};
use bireme_tests::command::Line;
use bireme_tests::data::{assert_same, generated};
use bireme_tests::members::Files;
use serde_json::Value;

const MEMBER_BYTES: u64 = 16 << 20;
const DATA_BYTES: usize = (3 << 20) + 5000;
const PAGE_BYTES: u64 = 1 << 20;
const CHUNK_BYTES: u64 = 64 << 10;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

/// A pool with one set on two files.
struct Pool {
    files: Files,
    layout: Layout,
    /// The frame of each page.
    frames: Vec<u64>,
}

impl Pool {
    fn new() -> Pool {
        let files = Files::new(2, MEMBER_BYTES);
        let options = format!("offload --size {DATA_BYTES} --seed 8 --chunk {CHUNK_BYTES} --page {PAGE_BYTES}");
        bireme(&options).devices(files.paths()).run().good();
        let export = bireme("export").devices(files.paths()).run().good();
        let export: Value = serde_json::from_str(&export).expect("JSON");
        let pages = export["sets"][0]["pages"].as_array().expect("pages");
        let frames = pages.iter().map(|page| page[0].as_u64().expect("a frame")).collect();
        let geometry = Geometry::new(Level::Raid0, 2, CHUNK_BYTES, PAGE_BYTES).expect("a usable shape");
        Pool { files, layout: Layout::new(geometry, MEMBER_BYTES).expect("room"), frames }
    }

    fn member(&self, index: usize) -> File {
        File::options().read(true).write(true).open(&self.files.paths()[index]).expect("a member")
    }

    /// Changes one byte of a member; the same again changes it back.
    fn flip(&self, member: usize, offset: u64) {
        let (file, mut byte) = (self.member(member), [0]);
        let read = file.read_exact_at(&mut byte, offset);
        read.and_then(|()| file.write_all_at(&[byte[0] ^ 0x10], offset)).expect("changed");
    }

    /// The restored data were right; otherwise the sentence, and then there is no output.
    fn restore(&self) -> Result<(), String> {
        let output = self.files.folder().join("output");
        let ended = bireme("restore").path("--output", &output).devices(self.files.paths()).run();
        if ended.code == Some(0) {
            let found = std::fs::read(&output).expect("the output");
            assert_same(&found, &generated(8, 1, DATA_BYTES), "restored from a damaged pool");
            std::fs::remove_file(output).expect("removed");
            return Ok(());
        }
        assert!(!output.exists(), "a refused restore leaves an output");
        Err(ended.sentence())
    }

    /// The sentence of a restore that must refuse.
    fn refusal(&self, why: &str) -> String {
        self.restore().expect_err(why)
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_damaged_block_is_found_and_named() {
    let pool = Pool::new();
    let pages = pool.frames.len() as u64;
    assert_eq!(pages, 4);
    // The first byte of the first page, one in the middle of a chunk, and padding behind the end of the data.
    for (member, page, within) in [(0, 0, 0), (1, 2, 5 * 65536 + 9000), (1, 3, 65_535)] {
        let offset = pool.layout.data_offset(pool.frames[page]) + within;
        pool.flip(member, offset);
        let sentence = pool.refusal("damaged data");
        let block = offset / 4096 * 4096;
        let want = format!("{} at byte {block} does not hold what was", name(&pool.files.paths()[member]));
        assert!(sentence.starts_with(&want) && sentence.contains(&format!("page {page} of")), "{sentence}");
        pool.flip(member, offset);
    }
    pool.restore().expect("whole again");
}

#[test]
fn a_damaged_checksum_is_found() {
    let pool = Pool::new();
    let leaves = |page: usize| pool.layout.leaf_offset(pool.frames[page]);
    // Bytes 4 to 7 of a leaf are its tag, which tells whose it is; past the last leaf of the data all is zero.
    for (member, page, within) in [(1, 1, 4), (1, 2, 8 * 100 + 7), (0, 3, 5), (1, 3, 4000)] {
        pool.flip(member, leaves(page) + within);
        let sentence = pool.refusal("a damaged tag");
        let want = format!("{} at byte {}", name(&pool.files.paths()[member]), leaves(page));
        assert!(sentence.starts_with(&want), "{sentence}");
        pool.flip(member, leaves(page) + within);
    }
    // A sum does not tell whose it is.
    for (member, page, within) in [(1, 1, 0), (0, 2, 8 * 50 + 3)] {
        pool.flip(member, leaves(page) + within);
        let sentence = pool.refusal("a damaged sum");
        assert!(sentence.starts_with(&format!("the checksums of page {page} of the set")), "{sentence}");
        pool.flip(member, leaves(page) + within);
    }
    pool.restore().expect("whole again");
}

#[test]
fn a_damaged_superblock_is_healed_by_its_other_copy() {
    let pool = Pool::new();
    let slots = zones(MEMBER_BYTES).map(|zone| [zone, zone + 4096]);
    for slot in slots.into_iter().flatten() {
        pool.flip(1, slot + 40);
        pool.restore().unwrap_or_else(|sentence| panic!("one slot at {slot} is damaged: {sentence}"));
        pool.flip(1, slot + 40);
    }
    // Both copies at one end gone: the device may have been cut or overwritten, and is not trusted.
    for zone in slots {
        zone.iter().for_each(|slot| pool.flip(1, slot + 40));
        let sentence = pool.refusal("no superblock at one end");
        assert!(sentence.starts_with(&name(&pool.files.paths()[1])) && sentence.contains("disagree"), "{sentence}");
        zone.iter().for_each(|slot| pool.flip(1, slot + 40));
    }
    pool.restore().expect("whole again");
}

/// Where a mirror holds something: the only bytes whose change can mean anything.
fn written(pool: &Pool, member: usize) -> Vec<u64> {
    let area = pool.layout.metadata();
    let mut bytes = vec![0; usize::try_from(area.end - area.start).expect("small")];
    pool.member(member).read_exact_at(&mut bytes, area.start).expect("the mirror");
    (area.start..).zip(bytes).filter(|&(_, byte)| byte != 0).map(|(offset, _)| offset).collect()
}

/// Damages each of so many places of one mirror, or of both, in turn.
fn damage_metadata(count: usize) {
    let pool = Pool::new();
    let places = written(&pool, 0);
    assert_eq!(places, written(&pool, 1), "after an orderly end the mirrors are alike");
    let mut healed = 0;
    for &offset in places.iter().step_by(places.len().div_ceil(count)) {
        pool.flip(0, offset);
        pool.restore().unwrap_or_else(|sentence| panic!("byte {offset} of one mirror: {sentence}"));
        pool.flip(1, offset);
        // The same in both: nothing to heal from. Some bytes mean nothing; the others must be noticed.
        match pool.restore() {
            Ok(()) => healed += 1,
            Err(sentence) => assert!(sentence.contains("metadata"), "byte {offset} of both mirrors: {sentence}"),
        }
        (0..2).for_each(|member| pool.flip(member, offset));
    }
    println!("{healed} of the places meant nothing");
    pool.restore().expect("whole again");
}

#[test]
fn damaged_metadata_are_healed_by_the_other_mirror() {
    damage_metadata(40);
}

#[test]
#[ignore = "some minutes: many more places"]
fn damaged_metadata_are_healed_wherever_they_are() {
    damage_metadata(1500);
}
