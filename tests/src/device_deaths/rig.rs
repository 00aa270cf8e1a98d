//! An array on disks that can be killed, and what the cases do with it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::port::simulated::Random;
use serde_json::Value;
use tempfile::TempDir;

use super::{Programs, Shape};
use crate::child::{Child, Ended, run};
use crate::data::{assert_same, generated};
use crate::fuse_disk::{Failing, FuseDisk};

/// An array.
pub(super) struct Rig {
    pub(super) programs: Programs,
    pub(super) shape: Shape,
    pub(super) seed: u64,
    pub(super) random: Random,
    /// By member.
    pub(super) disks: Vec<FuseDisk>,
    /// Those that have refused something, by member.
    pub(super) dead: Vec<bool>,
    /// Those that refuse reads only, by member.
    unreadable: Vec<bool>,
    /// Disks in whose place there are others.
    retired: Vec<FuseDisk>,
    folder: TempDir,
}

/// What became of a command on devices that may have died.
#[derive(Debug)]
pub(super) enum Fate {
    /// It has done what it was asked.
    Good(Ended),
    /// It has refused to begin, as half of the members might be the older half: nothing was written.
    Refused,
    /// It has ended with a sentence.
    Failed(Ended),
    /// It was killed.
    Killed(Ended),
}

impl Rig {
    pub(super) fn new(programs: &Programs, shape: Shape, seed: u64) -> Rig {
        let disks: Vec<FuseDisk> = (0..shape.members).map(|_| FuseDisk::new(&programs.disk, DISK_BYTES)).collect();
        let (programs, random, none) = (programs.clone(), Random::new(seed), vec![false; disks.len()]);
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let (dead, unreadable) = (none.clone(), none);
        Rig { programs, shape, seed, random, disks, dead, unreadable, retired: Vec::new(), folder }
    }

    /// Makes the array.
    pub(super) fn create(&self) {
        self.good(&["array", "create", "--raid", self.shape.level, "--page", PAGE, "--chunk", CHUNK]);
    }

    /// An array with a set.
    pub(super) fn with_set(mut self) -> Rig {
        self.create();
        self.write_set();
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The members that work.
    pub(super) fn living(&self) -> Vec<PathBuf> {
        let disks = self.disks.iter().zip(&self.dead);
        disks.filter(|(_, dead)| !**dead).map(|(disk, _)| disk.path().to_owned()).collect()
    }

    /// All members, dead or not.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        self.disks.iter().map(|disk| disk.path().to_owned()).collect()
    }

    /// Writes one more set.
    pub(super) fn write_set(&mut self) {
        let arguments = self.offload("1");
        self.good(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The words of an offload of so many sets.
    pub(super) fn offload(&self, sets: &str) -> Vec<String> {
        let (size, seed) = (SET_BYTES.to_string(), self.seed.to_string());
        let level = self.shape.level;
        let words = [
            "offload", "--raid", level, "--page", PAGE, "--chunk", CHUNK, "--size", &size, "--seed", &seed, "--sets",
            sets,
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Runs a command on the members that work, which must succeed; what it printed.
    #[track_caller]
    pub(super) fn good(&self, words: &[&str]) -> String {
        self.good_on(words, &self.living())
    }

    #[track_caller]
    pub(super) fn good_on(&self, words: &[&str], devices: &[PathBuf]) -> String {
        let ended = self.run_on(words, devices);
        assert_eq!(ended.code, 0, "{words:?} on {devices:?}: {}", ended.stderr);
        ended.stdout
    }

    pub(super) fn run_on(&self, words: &[&str], devices: &[PathBuf]) -> Ended {
        run(&self.programs.bireme, &line(words, devices), LIMIT)
    }

    /// How many requests a command shows each disk while nothing fails.
    pub(super) fn requests_of(&mut self, command: impl FnOnce(&mut Rig)) -> Vec<u64> {
        let before = self.requests();
        command(self);
        self.requests().iter().zip(before).map(|(after, before)| after - before).collect()
    }

    pub(super) fn requests(&mut self) -> Vec<u64> {
        self.disks.iter_mut().map(|disk| disk.seen().map_or(0, |seen| seen.requests)).collect()
    }

    /// Draws members that work.
    pub(super) fn draw_victims(&mut self, count: usize) -> Vec<usize> {
        let mut living: Vec<usize> = (0..self.disks.len()).filter(|&member| !self.dead[member]).collect();
        let mut victims = Vec::new();
        while victims.len() < count && !living.is_empty() {
            victims.push(living.swap_remove(self.below(living.len())));
        }
        victims
    }

    /// A member will die within as many requests.
    pub(super) fn doom(&mut self, member: usize, within: u64) {
        self.doom_behind(member, 0, within);
    }

    /// A member will die behind so many requests, within as many more.
    pub(super) fn doom_behind(&mut self, member: usize, start: u64, within: u64) {
        // One that comes back with what is old is the most dangerous.
        let way = if self.half() { Failing::Some } else { Failing::ALL[self.below(Failing::ALL.len())] };
        let after = start + self.random.below(within);
        println!("  member {member} ({}): {way:?} after {after} of {within}", self.disks[member].path().display());
        self.disks[member].fail(way, after);
        self.unreadable[member] = way == Failing::Reads;
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("small")
    }

    pub(super) fn half(&mut self) -> bool {
        self.random.chance(500_000)
    }

    /// Runs a command while doomed members die. With `kill` it is killed when the disk of a member has seen so many
    /// requests more.
    pub(super) fn deadly(&mut self, program: &Path, words: &[&str], kill: Option<(usize, u64)>) -> Fate {
        let devices = self.living();
        let mut child = Child::spawn(program, &line(words, &devices)).expect("the command starts");
        let disk = kill.and_then(|(member, more)| Some((member, self.disks[member].seen()?.requests + more)));
        if let Some((member, moment)) = disk {
            let disk = &mut self.disks[member];
            let now = || child.has_ended() || disk.seen().is_none_or(|seen| seen.requests >= moment);
            crate::child::until(LIMIT, now);
            child.signal(nix::sys::signal::Signal::SIGKILL);
        }
        let Some(ended) = child.wait(LIMIT) else { panic!("{words:?} does not end: {}", child.stderr()) };
        assert!(!ended.stderr.contains("panicked"), "{words:?}: {}", ended.stderr);
        self.note_deaths();
        self.spare();
        match ended.code {
            0 => Fate::Good(ended),
            137 if kill.is_some() => Fate::Killed(ended),
            1 if ended.sentence().contains("are only half of it") => Fate::Refused,
            1 => {
                println!("  {}", ended.sentence());
                Fate::Failed(ended)
            }
            _ => panic!("{words:?} has ended with {}: {}", ended.code, ended.stderr),
        }
    }

    /// Who has refused something.
    pub(super) fn note_deaths(&mut self) {
        for (disk, dead) in self.disks.iter_mut().zip(&mut self.dead) {
            *dead |= disk.seen().is_none_or(|seen| seen.refused > 0);
        }
    }

    /// What was doomed and has not died will not.
    fn spare(&mut self) {
        let disks = self.disks.iter_mut().zip(&self.dead);
        disks.filter(|(_, dead)| !**dead).for_each(|(disk, _)| disk.heal());
    }

    /// Those whose process lives work again, though they count as dead.
    pub(super) fn heal(&mut self) {
        for disk in &mut self.disks {
            if disk.seen().is_some() {
                disk.heal();
            }
        }
    }

    /// Those that work again do not count as dead.
    pub(super) fn forgive(&mut self) {
        self.dead.fill(false);
        self.note_deaths();
    }

    /// Those count as dead, besides, that the others have marked.
    pub(super) fn note_marked(&mut self) {
        let states = self.states(&self.living());
        for (dead, state) in self.dead.iter_mut().zip(states) {
            *dead |= state == "failed";
        }
    }

    /// Whether the array holds all data without the dead, and these.
    pub(super) fn survives_without(&self, besides: &[usize]) -> bool {
        let dead = (0..self.dead.len()).filter(|&member| self.dead[member] || besides.contains(&member));
        let dead: Vec<u16> = dead.map(|member| u16::try_from(member).expect("few")).collect();
        self.geometry().survives(&dead)
    }

    fn geometry(&self) -> Geometry {
        let level = match self.shape.level {
            "1" => Level::Raid1,
            "10" => Level::Raid10,
            "5" => Level::Raid5,
            _ => Level::Raid6,
        };
        Geometry::new(level, self.shape.members, 16 << 10, 1 << 20).expect("a usable shape")
    }

    /// Changes bytes of the newest set on a member, in so many places.
    pub(super) fn damage(&mut self, member: usize, places: usize) {
        let export: Value = serde_json::from_str(&self.good(&["export"])).expect("JSON");
        let pages = export["sets"].as_array().and_then(|sets| sets.last()).expect("a set")["pages"].clone();
        let (geometry, pages) = (self.geometry(), pages.as_array().expect("pages").clone());
        let layout = Layout::new(geometry, DISK_BYTES).expect("room");
        let file = File::options().read(true).write(true).open(self.disks[member].path()).expect("a device");
        for _ in 0..places {
            let page = self.below(pages.len());
            let frame = pages[page][0].as_u64().expect("a frame");
            let at = layout.data_offset(frame) + self.random.below(u64::from(geometry.frame_member_bytes()));
            let mut byte = [0];
            let read = file.read_exact_at(&mut byte, at);
            read.and_then(|()| file.write_all_at(&[byte[0] ^ 0x10], at)).expect("changed");
        }
        file.sync_all().expect("on the device");
    }

    /// The states of the members, as those say that work.
    pub(super) fn states(&self, devices: &[PathBuf]) -> Vec<String> {
        let shown = self.good_on(&["array", "show", "--json"], devices);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let rows = shown["members"].as_array().expect("members");
        rows.iter().map(|row| row["state"].as_str().expect("a word").to_owned()).collect()
    }

    /// Those that have died are marked, and no others. A few reads that were refused are not worth a mark.
    #[track_caller]
    pub(super) fn expect_marked(&self) {
        let states = self.states(&self.living());
        for (member, state) in states.iter().enumerate() {
            let is_right = match (self.dead[member], state.as_str()) {
                (false, state) => state == "active",
                (true, "absent") => self.unreadable[member],
                (true, state) => state == "failed",
            };
            assert!(is_right, "member {member}: {states:?}, and these are dead: {:?}", self.dead);
        }
    }

    /// The set restores from these devices.
    #[track_caller]
    pub(super) fn expect_set(&self, number: u64, devices: &[PathBuf], when: &str) {
        let output = self.path("restored");
        self.good_on(&["restore", "--output", output.to_str().expect("plain")], devices);
        let found = std::fs::read(&output).expect("the output");
        assert_same(&found, &generated(self.seed, number, SET_BYTES), when);
        std::fs::remove_file(output).expect("removed");
    }

    /// A new disk takes a member's place.
    pub(super) fn replace(&mut self, member: usize) {
        let disk = FuseDisk::new(&self.programs.disk, DISK_BYTES);
        let others: Vec<PathBuf> = self.living().into_iter().filter(|path| path != self.disks[member].path()).collect();
        let with = disk.path().to_str().expect("plain").to_owned();
        self.good_on(&["array", "replace", "--member", &member.to_string(), "--with", &with], &others);
        self.retired.push(std::mem::replace(&mut self.disks[member], disk));
        self.dead[member] = false;
    }

    /// Replaces all that have died, and fills them.
    #[track_caller]
    pub(super) fn make_whole(&mut self) {
        for member in 0..self.disks.len() {
            if self.dead[member] {
                self.replace(member);
            }
        }
        if self.states(&self.living()).contains(&"rebuilding".to_owned()) {
            self.good(&["array", "rebuild"]);
        }
        self.expect_marked();
        let scrubbed = self.good(&["array", "scrub"]);
        assert!(!scrubbed.contains("had been written"), "{scrubbed}");
    }
}

fn line<'a>(words: &[&'a str], devices: &'a [PathBuf]) -> Vec<&'a str> {
    let devices = devices.iter().map(|path| path.to_str().expect("a plain path"));
    words.iter().copied().chain(["--device"]).chain(devices).collect()
}

pub(super) const DISK_BYTES: u64 = 48 << 20;
pub(super) const SET_BYTES: usize = (7 << 20) + 77;
const PAGE: &str = "1MiB";
const CHUNK: &str = "16KiB";
/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
