//! The commit that a release is built from, for its reports. A build of somewhere else than the repository, or one that
//! packages Bireme, sets `BIREME_COMMIT` itself.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BIREME_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // A debug build says nothing of it: it would be built again with each commit.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if std::env::var_os("BIREME_COMMIT").is_some() || !release {
        return;
    }
    // Of another repository around this folder it says nothing.
    if git(&["rev-parse", "--show-prefix"]).as_deref() != Some("bench/") {
        return;
    }
    let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) else { return };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    // Each commit, and each change of branch, appends to the log; with the sources, what follows the commit is true.
    for path in [&log, "src", "../control/src", "../dataplane/src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    println!("cargo::rustc-env=BIREME_COMMIT={commit}{}", if changed { " and changes" } else { "" });
}

/// What git answers, if it is there and this is a repository of it.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
