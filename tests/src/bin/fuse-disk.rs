//! Serves a disk that can be killed; see `bireme_tests::fuse_disk`, which starts this.

use std::process::ExitCode;

fn main() -> ExitCode {
    let bytes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(bytes) = bytes else {
        eprintln!("fuse-disk: say of how many bytes");
        return ExitCode::FAILURE;
    };
    match bireme_tests::fuse_disk::server::serve(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuse-disk: {error}; it needs root, /dev/fuse, and mount namespaces");
            ExitCode::FAILURE
        }
    }
}
