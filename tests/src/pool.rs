//! A pool on some devices, written and read back by the command as an operator would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Child, Ended, run};
use crate::data::generated;

/// The command and the devices that it works on.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The `bireme` to run.
    pub program: PathBuf,
    /// The members, in order.
    pub devices: Vec<PathBuf>,
}

impl Pool {
    /// A pool of these devices, which need not be made yet.
    pub fn new(program: impl AsRef<Path>, devices: Vec<PathBuf>) -> Pool {
        Pool { program: program.as_ref().into(), devices }
    }

    /// Starts an offload with these arguments besides the devices.
    ///
    /// # Panics
    /// When the command cannot be started.
    pub fn offload(&self, arguments: &[&str]) -> Child {
        Child::spawn(&self.program, &self.arguments("offload", arguments)).expect("the command starts")
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Ended {
        run(&self.program, &self.arguments(command, arguments), LIMIT)
    }

    /// Writes sets, which must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn write(&self, arguments: &[&str]) {
        let ended = self.run("offload", arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    /// The number of the newest committed set; `None`: there is none.
    ///
    /// # Panics
    /// When the pool cannot be read.
    pub fn newest(&self) -> Option<u64> {
        let ended = self.run("export", &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let value: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
        value["sets"].as_array()?.last()?["number"].as_u64()
    }

    /// Restores the newest set and compares every bit with what set `number` of a generated run must hold.
    ///
    /// # Errors
    /// A sentence that says what differs.
    ///
    /// # Panics
    /// When the output cannot be read.
    pub fn compare(&self, seed: u64, number: u64, bytes: u64, folder: &Path) -> Result<(), String> {
        let output = folder.join("restored");
        let _ = std::fs::remove_file(&output);
        let text = output.to_str().expect("a plain path");
        let ended = self.run("restore", &["--output", text]);
        if ended.code != 0 {
            return Err(format!("set {number} cannot be restored: {}", ended.stderr));
        }
        let found = std::fs::read(&output).expect("the output is readable");
        let want = generated(seed, number, usize::try_from(bytes).expect("small"));
        match found.iter().zip(&want).position(|(found, want)| found != want) {
            Some(place) => Err(format!("set {number} was restored wrongly from byte {place} on")),
            None if found.len() != want.len() => Err(format!("set {number} has {} bytes", found.len())),
            None => Ok(()),
        }
    }

    fn arguments<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![command];
        arguments.extend(more);
        arguments.push("--device");
        arguments.extend(self.devices.iter().map(|path| path.to_str().expect("a plain path")));
        arguments
    }
}

/// Far longer than any of these takes.
const LIMIT: Duration = Duration::from_secs(30);
