//! The `bireme` command; see `bireme --help`.

fn main() -> std::process::ExitCode {
    bireme_tools::run::main()
}
