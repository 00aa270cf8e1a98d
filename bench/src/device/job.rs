//! Jobs in files: each becomes what an operator would have written on the line.
//!
//! ```text
//!   TOML ──┐
//!          ├─▶ options and values ─▶ without those that the line gives ─▶ one line ─▶ read as any other
//!   fio  ──┘
//! ```
//!
//! So a file knows no option that the line lacks, and a wrong value is refused by the same words, with its key and file.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::Options;

mod fio;
mod tables;

/// A job as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Job {
    name: Option<String>,
    settings: Vec<Setting>,
    notes: Vec<String>,
}

/// One option of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// As the file calls it.
    key: String,
    /// The option of the line, without dashes; [`PATHS`] for the paths.
    option: String,
    /// None of a flag.
    values: Vec<String>,
    /// A flag that is not set.
    off: bool,
}

impl Setting {
    fn new(key: &str, option: &str, values: Vec<String>) -> Setting {
        Setting { key: key.to_owned(), option: option.to_owned(), values, off: false }
    }
}

/// The jobs of a file, each with what the line says before what the file says.
pub(super) fn read(path: &Path, line: &ArgMatches) -> Result<Vec<Options>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let is_fio = path.extension().is_some_and(|extension| extension == "fio" || extension == "ini");
    let parsed = if is_fio { fio::parse(&text) } else { tables::parse(&text) };
    let jobs = parsed.map_err(|error| format!("{}: {error}", path.display()))?;
    let options =
        jobs.into_iter().map(|job| complete(job, line).map_err(|error| format!("{}: {error}", path.display())));
    let options = options.collect::<Result<Vec<_>, _>>()?;
    match shared_output(&options) {
        Some(output) => {
            Err(format!("{}: two jobs write to {}: give each a file of its own", path.display(), output.display()))
        }
        None => Ok(options),
    }
}

/// The job's options, and those of the line in their place.
fn complete(job: Job, line: &ArgMatches) -> Result<Options, String> {
    let command = command();
    let given: Vec<&Arg> = command.get_arguments().filter(|arg| is_given(line, arg)).collect();
    let mut words: Vec<OsString> = Vec::new();
    let mut paths: Vec<OsString> = Vec::new();
    for setting in &job.settings {
        let arg = find(&command, setting).ok_or_else(|| unknown(&command, setting))?;
        check(&command, arg, setting)?;
        let excludes = |one: &Arg, other: &Arg| command.get_arg_conflicts_with(one).contains(&other);
        let replaced = |other: &&Arg| *other == arg || excludes(other, arg) || excludes(arg, other);
        if setting.off || given.iter().any(replaced) {
            continue;
        }
        match arg.get_long() {
            None => paths.extend(setting.values.iter().map(OsString::from)),
            Some(_) => words.extend(setting_words(setting)),
        }
    }
    for arg in given {
        let values = || line.get_raw(arg.get_id().as_str()).into_iter().flatten();
        match arg.get_long() {
            None => paths.extend(values().map(OsString::from)),
            Some(long) if is_flag(arg) => words.push(format!("--{long}").into()),
            Some(long) => words.extend(values().map(|value| {
                let mut word = OsString::from(format!("--{long}="));
                word.push(value);
                word
            })),
        }
    }
    if paths.is_empty() {
        let name = job.name.as_deref().unwrap_or("without a name");
        return Err(format!("the job {name} names no devices or files: give it paths, here or on the line"));
    }
    words.push("--".into());
    words.extend(paths);
    let matches = command.try_get_matches_from(words).map_err(|error| plain(&error))?;
    let mut options = Options::from_arg_matches(&matches).map_err(|error| plain(&error))?;
    if let Some(name) = job.name.filter(|_| matches.value_source("name") != Some(ValueSource::CommandLine)) {
        options.name = name;
    }
    options.notes = job.notes;
    Ok(options)
}

fn command() -> Command {
    Options::augment_args(Command::new("bench-device")).no_binary_name(true).disable_help_flag(true)
}

fn is_given(line: &ArgMatches, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let there = line.try_contains_id(id).unwrap_or(false) && line.value_source(id) == Some(ValueSource::CommandLine);
    there && !NOT_IN_FILES.contains(&id)
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// The option of a setting; a path has no dashes.
fn find<'a>(command: &'a Command, setting: &Setting) -> Option<&'a Arg> {
    let mut args = command.get_arguments().filter(|arg| !NOT_IN_FILES.contains(&arg.get_id().as_str()));
    args.find(|arg| arg.get_long().unwrap_or(PATHS) == setting.option)
}

fn unknown(command: &Command, setting: &Setting) -> String {
    let known: Vec<&str> = command
        .get_arguments()
        .filter(|arg| !NOT_IN_FILES.contains(&arg.get_id().as_str()))
        .map(|arg| arg.get_long().unwrap_or(PATHS))
        .collect();
    format!("'{}' is no option of a job; there are {}", setting.key, known.join(", "))
}

fn setting_words(setting: &Setting) -> Vec<OsString> {
    let option = &setting.option;
    match setting.values.as_slice() {
        [] => vec![format!("--{option}").into()],
        values => values.iter().map(|value| format!("--{option}={value}").into()).collect(),
    }
}

/// Whether a setting alone is right: the words of a refusal are to name its key.
fn check(command: &Command, arg: &Arg, setting: &Setting) -> Result<(), String> {
    let (key, values) = (&setting.key, setting.values.join(", "));
    if is_flag(arg) != setting.values.is_empty() {
        let want = if is_flag(arg) { "is true or false" } else { "needs a value" };
        return Err(format!("'{key}' {want}"));
    }
    let mut words = if arg.get_long().is_some() { setting_words(setting) } else { Vec::new() };
    words.push("any".into());
    let Err(error) = command.clone().try_get_matches_from(words) else { return Ok(()) };
    let why = match error.kind() {
        // Others of the job may be what it requires.
        ErrorKind::MissingRequiredArgument => return Ok(()),
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!("choose one of {}", valid.join(", ")),
            _ => plain(&error),
        },
        _ => error.source().map_or_else(|| plain(&error), ToString::to_string),
    };
    Err(format!("'{key} = {values}' is refused: {why}"))
}

/// In one line, without hints on a command line that nobody has written.
fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("tip:"));
    let joined = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    joined.trim_start_matches("error: ").to_owned()
}

/// A file that two jobs would write.
fn shared_output(jobs: &[Options]) -> Option<PathBuf> {
    let outputs = |job: &Options| {
        [&job.recording.hlog, &job.recording.hgrm, &job.recording.intervals, &job.journal].map(Clone::clone)
    };
    let mut all: Vec<PathBuf> = jobs.iter().flat_map(outputs).flatten().collect();
    all.sort();
    all.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
}

/// What a file calls the paths.
const PATHS: &str = "paths";
const NOT_IN_FILES: [&str; 2] = ["job", "verify_journal"];

#[cfg(test)]
mod tests {
    use bireme_control::units::Nanos;
    use bireme_dataplane::reservation::Class;

    use super::super::Pattern;
    use super::*;

    fn read_as(name: &str, text: &str, line: &str) -> Result<Vec<Options>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let words = line.split_whitespace().map(str::to_owned).chain(["--job".to_owned(), path.display().to_string()]);
        let matches = command().try_get_matches_from(words).expect("a line");
        read(&path, &matches)
    }

    const JOB: &str = r#"
        [job]
        paths = ["/dev/a", "/dev/b"]
        rw = "randrw"
        bs = "4KiB:70,64KiB:30"
        depth = 8
        arrival-rate = 2.5e4
        arrivals = "constant"
        cores = [0, 1]
        runtime = "3s"
        destroy-data = true
        verify = false
    "#;

    #[test]
    fn a_table_reads_like_a_line_and_the_line_goes_before_it() {
        let [job] = read_as("job.toml", JOB, "").expect("a job").try_into().expect("one");
        assert_eq!((job.rw, job.depth, job.arrival_rate), (Pattern::RandRw, 8, Some(25_000.0)));
        assert_eq!(
            (job.bs.0, job.cores, job.runtime),
            (vec![(4096, 70), (65536, 30)], vec![0, 1], Nanos::from_secs(3))
        );
        assert_eq!((job.destroy_data, job.verify, job.devices.len()), (true, false, 2));

        let line = "--rw read --depth 2 --cores 3,4 --bytes 1MiB --verify /dev/c";
        let [job] = read_as("job.toml", JOB, line).expect("a job").try_into().expect("one");
        assert_eq!((job.rw, job.depth, job.cores, job.bytes), (Pattern::Read, 2, vec![3, 4], Some(1 << 20)));
        assert_eq!((job.verify, job.devices), (true, vec![PathBuf::from("/dev/c")]), "paths on the line replace those");

        let text = "[job]\npaths = \"/dev/a\"\nbytes = \"1MiB\"\n";
        let [job] = read_as("job.toml", text, "--runtime 7s").expect("a job").try_into().expect("one");
        assert_eq!((job.bytes, job.runtime), (None, Nanos::from_secs(7)), "what excludes another goes before it too");
    }

    #[test]
    fn several_jobs_follow_one_another_and_share_what_is_global() {
        let text =
            "[global]\npaths = \"/dev/a\"\ndepth = 4\n[[job]]\nname = \"fill\"\nrw = \"write\"\n[[job]]\ndepth = 5\n";
        let jobs = read_as("job.toml", text, "").expect("jobs");
        let seen: Vec<_> = jobs.iter().map(|job| (job.name.as_str(), job.rw, job.depth)).collect();
        assert_eq!(seen, [("fill", Pattern::Write, 4), ("bireme", Pattern::RandRead, 5)]);
        let text = "[job]\npaths = \"/dev/a\"\nclass = [\"foreground=limit:40MiB/s\"]\nlink-rate = \"1GiB/s\"\n";
        let [job] = read_as("job.toml", text, "").expect("a job").try_into().expect("one");
        let held = job.promises().expect("they can be kept").in_force(Class::Foreground).expect("both hold");
        assert_eq!((held.limit, held.link_rate), (Some(40 << 20), Some(1 << 30)));
        let text = "[[job]]\npaths=\"/dev/a\"\nhlog=\"x\"\n[[job]]\npaths=\"/dev/a\"\nhlog=\"x\"\n";
        assert!(read_as("job.toml", text, "").is_err_and(|error| error.contains("two jobs write to x")));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        #[rustfmt::skip]
        let cases = [
            ("[job]\nbsize = 4", "'bsize' is no option of a job"),
            ("[job]\njob = \"x\"", "'job' is no option"),
            ("[job]\nbs = \"1000\"", "'bs = 1000' is refused: requests of 1000 bytes"),
            ("[job]\nrw = \"sideways\"", "'rw = sideways' is refused: choose one of read, write"),
            ("[job]\ndepth = 0", "'depth = 0' is refused: 0 is not in 1..=16384"),
            ("[job]\ndepth = -1", "'depth = -1' is refused"),
            ("[job]\nclass = \"foreground=limit:0\"", "would stop it for ever"),
            ("[job]\ndepth = true", "'depth' needs a value"),
            ("[job]\ndepth = false", "'depth' needs a value"),
            ("[job]\nbsize = false", "'bsize' is no option"),
            ("[job]\nfua = 1", "'fua' is true or false"),
            ("[job]\ndepth = [1, 2]", "'depth = 1, 2' is refused"),
            ("[job]\ndepth = 1979-05-27", "'depth' is a date"),
            ("[job]\nrw = \"read\"", "names no devices"),
            ("[job]\npaths = \"a\"\narrivals = \"poisson\"", "--arrival-rate"),
            ("[jobs]\nrw = \"read\"", "'jobs' is no table of a job file"),
            ("job = 3", "'job' is no table"),
            ("", "no [job]"),
            ("[job", "line 1"),
        ];
        for (text, want) in cases {
            let error = read_as("job.toml", text, "").expect_err(want);
            assert!(error.contains(want) && error.contains("job.toml") && !error.contains('\n'), "{want}: {error}");
        }
    }
}
