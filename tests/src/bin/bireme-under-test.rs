//! The `bireme` command as the tests run it: the same entry, after taking away what the environment variables say.
//!
//! ```text
//!   BIREME_TEST_MEMLOCK=BYTES     the limit of locked memory
//!   BIREME_TEST_UID=NUMBER        the user, and the group of that number; root's rights are gone
//!   BIREME_TEST_NO_URING=1        io_uring_setup fails with EPERM, as in many containers
//! ```
//!
//! It is here because the tests can find the binaries of their own package only.

use std::process::ExitCode;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use seccompiler::{SeccompAction, SeccompFilter};

fn main() -> ExitCode {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(bytes) = number("BIREME_TEST_MEMLOCK") {
        setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes).expect("a lower limit");
    }
    if let Some(id) = number("BIREME_TEST_UID") {
        let id = u32::try_from(id).expect("a user");
        setgroups(&[]).and_then(|()| setgid(Gid::from_raw(id))).expect("another group");
        setuid(Uid::from_raw(id)).expect("another user");
    }
    if number("BIREME_TEST_NO_URING").is_some() {
        refuse_uring();
    }
    bireme_tools::run::main()
}

fn refuse_uring() {
    let errno = u32::try_from(libc::EPERM).expect("a small number");
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let rules = [(libc::SYS_io_uring_setup, Vec::new())].into();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture);
    let program = filter.and_then(seccompiler::BpfProgram::try_from).expect("a filter");
    seccompiler::apply_filter(&program).expect("a filter in force");
}
