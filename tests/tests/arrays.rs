//! `bireme array` on files: arrays are made and shown, members fail, are missing, come back and are replaced, and what
//! cannot be done is refused in a sentence before a byte was changed.

use std::path::{Path, PathBuf};

use bireme_tests::command::{Line, contents};
use bireme_tests::data::{assert_same, generated};
use bireme_tests::members::Files;
use serde_json::Value;

fn bireme(command: &str) -> Line {
    Line::new(env!("CARGO_BIN_EXE_bireme-under-test")).text(command)
}

/// Runs a line that must be refused, with these words, and leave the files as they are.
#[track_caller]
fn refused(line: Line, watched: &[PathBuf], words: &[&str]) {
    let before = contents(watched);
    let sentence = line.run().sentence();
    for word in words {
        assert!(sentence.contains(word), "'{word}' is missing: {sentence}");
    }
    for ((path, before), (_, after)) in before.iter().zip(&contents(watched)) {
        assert_same(after, before, &format!("{} after: {sentence}", path.display()));
    }
    println!("{sentence}");
}

fn show(paths: &[&PathBuf]) -> Value {
    let text = bireme("array show --json").devices(paths).run().good();
    serde_json::from_str(&text).expect("JSON")
}

fn states(paths: &[&PathBuf]) -> Vec<String> {
    let facts = show(paths);
    let rows = facts["members"].as_array().expect("members");
    rows.iter().map(|row| row["state"].as_str().expect("a word").to_owned()).collect()
}

/// The set of this number, generated from seed 8, is what a restore from these devices gives.
#[track_caller]
fn restores(paths: &[&PathBuf], number: u64, folder: &Path) {
    let output = folder.join("output");
    bireme("restore").path("--output", &output).devices(paths).run().good();
    let found = std::fs::read(&output).expect("the output");
    assert_same(&found, &generated(8, number, BYTES), "restored");
    std::fs::remove_file(output).expect("removed");
}

fn offload(paths: &[&PathBuf], level: &str) -> Line {
    bireme(&format!("offload --size {BYTES} --seed 8 --raid {level}")).devices(paths)
}

const BYTES: usize = (5 << 20) + 77;
const MEMBER_BYTES: u64 = 24 << 20;

#[test]
fn a_member_fails_is_left_out_and_replaced() {
    let files = Files::new(5, MEMBER_BYTES);
    let all = files.paths();
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index| &all[index]);
    let made = bireme("array create --raid 5").devices(&[a, b, c]).run().good();
    assert!(made.contains("RAID 5 over 3 devices, chunk 64 KiB, page 4 MiB"), "{made}");
    offload(&[c, a, b], "5").run().good();
    assert_eq!(states(&[b, c, a]), ["active"; 3]);

    let failed = bireme("array fail --member 1").devices(&[a, b, c]).run().good();
    assert!(failed.contains(&format!("{} counts as failed: the others go on without it", b.display())), "{failed}");
    restores(&[a, b, c], 1, files.folder());
    // Offload goes on without it; what it holds is old, and is never used.
    offload(&[a, b, c], "5").run().good();
    restores(&[c, b, a], 2, files.folder());
    restores(&[c, a], 2, files.folder());
    let facts = show(&[a, b, c]);
    assert_eq!(facts["members"][1]["state"], "failed");
    assert!(facts["members"][1]["path"].is_null() && facts["members"][1]["failed_at"].is_u64(), "{facts}");
    let note = facts["notes"][0].as_str().expect("a note");
    assert!(note.starts_with(&b.display().to_string()) && note.contains("is stale: member 1 has failed"), "{note}");

    let replace = |options: &str, given: &[&PathBuf], with: &PathBuf| {
        bireme(&format!("array replace {options}")).path("--with", with).devices(given)
    };
    let why = ["member 0 cannot be done without", "RAID 5 does not hold all data without members 0 and 1"];
    refused(bireme("array fail --member 0").devices(&[a, b, c]), all, &why);
    refused(replace("--member 0", &[a, c], d), all, &why);
    refused(bireme("array fail --member 7").devices(&[a, c]), all, &["no member 7", "0 to 2"]);
    let stale = bireme("array fail").path("--member", b).devices(&[a, b, c]);
    refused(stale, all, &["is no member that is in use", "by its index"]);
    refused(replace("--member 1", &[a, c], b), all, &["a part of a Bireme pool", "--destroy-data"]);
    let tiny = files.folder().join("tiny");
    std::fs::write(&tiny, vec![0; 1 << 20]).expect("a file");
    refused(replace("--member 1", &[a, c], &tiny), all, &["tiny holds 1048576 bytes", "needs", "larger device"]);
    std::fs::write(e, vec![7; 1 << 20]).expect("somebody's data");
    let grown = std::fs::File::options().write(true).open(e).expect("a file");
    grown.set_len(MEMBER_BYTES).expect("room");
    refused(replace("--member 1", &[a, c], e), all, &["is not blank", "--destroy-data"]);

    replace("--member 1", &[a, c], d).run().good();
    assert_eq!(states(&[a, d, c]), ["active", "rebuilding", "active"]);
    restores(&[d, c, b, a], 2, files.folder());
    refused(replace("--member 1", &[a, c, d], e), all, &["has been replaced already", &d.display().to_string()]);
    refused(replace("--destroy-data --member 1", &[a, c], d), all, &["in use by this very pool", "--device"]);
    // The one that was replaced may come back as any other device.
    bireme("array fail --member 1").devices(&[a, c, d]).run().good();
    replace("--destroy-data --member 1", &[a, c], b).run().good();
    assert_eq!(states(&[a, b, c, d]), ["active", "rebuilding", "active"]);
    offload(&[a, b, c], "5").run().good();
    restores(&[a, c], 3, files.folder());
}

#[test]
fn a_working_member_is_replaced_by_its_path_where_the_others_can_do_without() {
    let files = Files::new(3, MEMBER_BYTES);
    let [a, b, c] = [0, 1, 2].map(|index| &files.paths()[index]);
    bireme("array create --raid 1").devices(&[a, b]).run().good();
    offload(&[a, b], "1").run().good();
    bireme("array replace").path("--member", a).path("--with", c).devices(&[a, b]).run().good();
    assert_eq!(states(&[a, b, c]), ["rebuilding", "active"]);
    restores(&[b, c], 1, files.folder());
    let striped = Files::new(2, MEMBER_BYTES);
    bireme("array create").devices(striped.paths()).run().good();
    let fail = bireme("array fail").path("--member", &striped.paths()[1]).devices(striped.paths());
    refused(fail, striped.paths(), &["RAID 0 does not hold all data without member 1"]);
}

#[test]
fn a_spare_waits_and_takes_the_place_of_a_missing_member() {
    let files = Files::new(4, MEMBER_BYTES);
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| &files.paths()[index]);
    bireme("array create --raid 5 --spare").words([d]).devices(&[a, b, c]).run().good();
    assert_eq!(states(&[a, b, c, d]), ["active", "active", "active", "spare"]);
    offload(&[a, b, c, d], "5").run().good();
    // Looking changes nothing; writing without a member does.
    assert_eq!(states(&[a, c, d]), ["active", "absent", "active", "spare"]);
    assert_eq!(states(&[a, b, c, d])[1], "active");
    offload(&[a, c, d], "5").run().good();
    assert_eq!(states(&[a, b, c, d]), ["active", "rebuilding", "active"]);
    restores(&[a, b, c, d], 2, files.folder());
    let report = bireme("restore --verify").devices(&[a, c, d]).run().good();
    assert!(report.contains("is not rebuilt yet"), "{report}");
}

#[test]
fn arrays_that_cannot_be_made_or_opened() {
    let files = Files::new(4, MEMBER_BYTES);
    let all = files.paths();
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| &all[index]);
    let create = |options: &str, given: &[&PathBuf]| bireme(&format!("array create {options}")).devices(given);
    refused(create("--raid 5", &[a, b]), all, &["RAID 5 needs at least 3 devices", "2 were named"]);
    refused(create("--raid 6 --groups 2", &[a, b, c, d]), all, &["RAID 6 has no groups"]);
    refused(create("--raid 50", &[a, b, c, d]), all, &["RAID 50 needs at least 6 devices for 2 groups"]);
    refused(bireme("array show").devices(&[a]), all, &["holds no pool", "blank"]);
    create("--raid 1", &[a, b, c]).run().good();
    refused(create("--raid 1", &[a, d]), all, &["--destroy-data"]);
    refused(bireme("array show").devices(&[a, d]), all, &["is a member of a pool and", &d.display().to_string()]);
    refused(bireme("array show").devices(&[a]), all, &["only 1 of the 3 members", "may have gone on without these"]);
    refused(bireme("array fail --member 0").devices(&[b]), all, &["only 1 of the 3 members"]);
    let copy = files.folder().join("copy");
    std::fs::copy(a, &copy).expect("a copy");
    refused(bireme("array show").devices(&[a, b, &copy]), all, &["copies of one member"]);
    // Two halves that went on, each without the other.
    create("--raid 1 --destroy-data", &[a, b]).run().good();
    offload(&[a], "1").run().good();
    offload(&[b], "1").run().good();
    refused(bireme("array show").devices(&[a, b]), all, &["each was written to without the other"]);
    restores(&[b], 1, files.folder());
}
