//! Where the reports go, opened before the run: a place that cannot be written is known before anything else is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bireme_bench::recording::Recording;
use bireme_dataplane::device::{Device, Identity};

use crate::cli::Reports;

/// The places for one run's reports. Files that were made for them go away again if nothing is written.
#[derive(Debug)]
pub(super) struct Outlets {
    to_stdout: bool,
    json: Option<Outlet>,
    page: Option<Outlet>,
    /// The text, the JSON, the page, the percentiles and the picture in the directory of `--out`.
    folder: Option<[Outlet; 5]>,
}

impl Outlets {
    /// Opens what the operator has named. The devices are never written to by name.
    pub(super) fn open(reports: &Reports, devices: &[Device]) -> Result<Outlets, String> {
        let to_stdout = reports.json.as_deref() == Some(Path::new("-"));
        let json = reports.json.as_ref().filter(|_| !to_stdout).map(|path| Outlet::open(path, devices)).transpose()?;
        let page = reports.html.as_ref().map(|path| Outlet::open(path, devices)).transpose()?;
        // These grow while the run goes on, or are several: they are opened by whoever records.
        let Recording { hlog, hgrm, intervals, .. } = &reports.recording;
        [hlog, hgrm, intervals].into_iter().flatten().try_for_each(|path| check(path, devices))?;
        let folder = reports.out.as_ref().map(|folder| {
            std::fs::create_dir_all(folder)
                .map_err(|e| format!("{} cannot be made: {e}; name another directory with --out", folder.display()))?;
            let outlet = |name| Outlet::open(&folder.join(name), devices);
            Ok::<_, String>([
                outlet("report.txt")?,
                outlet("report.json")?,
                outlet("report.html")?,
                outlet("latency.hgrm")?,
                outlet("balance.svg")?,
            ])
        });
        Ok(Outlets { to_stdout, json, page, folder: folder.transpose()? })
    }

    /// Whether the JSON takes the table's place on standard output.
    pub(super) fn json_to_stdout(&self) -> bool {
        self.to_stdout
    }

    /// Writes the files. Without a picture there is no file for it.
    pub(super) fn write(
        self,
        json: &str,
        table: &str,
        page: &str,
        percentiles: &str,
        picture: Option<&str>,
    ) -> Result<(), String> {
        self.json.map_or(Ok(()), |outlet| outlet.write(json))?;
        self.page.map_or(Ok(()), |outlet| outlet.write(page))?;
        let Some([for_table, for_json, for_page, for_percentiles, for_picture]) = self.folder else { return Ok(()) };
        for_table.write(table)?;
        for_json.write(json)?;
        for_page.write(page)?;
        for_percentiles.write(percentiles)?;
        picture.map_or(Ok(()), |picture| for_picture.write(picture))
    }
}

/// Nothing is written to a device by name.
fn check(path: &Path, devices: &[Device]) -> Result<(), String> {
    let Ok(facts) = std::fs::metadata(path) else { return Ok(()) };
    let identity = Identity::of(&facts);
    let is_device = devices.iter().any(|device| Some(device.identity()) == identity);
    match is_device || facts.file_type().is_block_device() {
        true => Err(refusal(path, &"it is a device, whose data would be lost")),
        false => Ok(()),
    }
}

fn refusal(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("the report cannot be written to {}: {why}; name a file in a directory of your own", path.display())
}

#[derive(Debug)]
struct Outlet {
    path: PathBuf,
    file: File,
    /// Made by us, and empty so far.
    made: bool,
}

impl Outlet {
    fn open(path: &Path, devices: &[Device]) -> Result<Outlet, String> {
        check(path, devices)?;
        let path = path.to_path_buf();
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Outlet { path, file, made: true }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = OpenOptions::new().write(true).open(&path).map_err(|error| refusal(&path, &error))?;
                Ok(Outlet { path, file, made: false })
            }
            Err(error) => Err(refusal(&path, &error)),
        }
    }

    fn write(mut self, text: &str) -> Result<(), String> {
        self.made = false;
        // Pipes and terminals have no length to cut.
        let is_file = self.file.metadata().is_ok_and(|facts| facts.is_file());
        let cut = if is_file { self.file.set_len(0) } else { Ok(()) };
        cut.and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|e| format!("the report cannot be written to {}: {e}", self.path.display()))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
