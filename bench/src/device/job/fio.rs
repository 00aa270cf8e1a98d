//! Jobs in fio's format: the common options, with fio's defaults. What means something else here is said in a note, and
//! what is not known is refused by name.

use std::collections::BTreeMap;

use super::{Job, PATHS, Setting};

mod values;

/// The jobs of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Job>, String> {
    let (mut global, mut sections): (Entries, Vec<Section>) = (Entries::new(), Vec::new());
    let mut in_global = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_global = name == "global";
            if !in_global {
                sections.push(Section { name: name.to_owned(), entries: global.clone() });
            }
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
        let entries = match sections.last_mut() {
            _ if in_global => &mut global,
            Some(section) => &mut section.entries,
            None => return Err(format!("line {}: '{line}' stands before the first [job]", number + 1)),
        };
        entries.insert(canonical(key).to_owned(), (key.to_owned(), value.to_owned()));
    }
    if sections.is_empty() {
        return Err("there is no [job] in it".to_owned());
    }
    for pair in sections.windows(2) {
        if !pair[1].entries.contains_key("stonewall") {
            let (first, second) = (&pair[0].name, &pair[1].name);
            return Err(format!(
                "the jobs {first} and {second} would run side by side in fio: here jobs run one after another, so say stonewall \
                 in {second}, or make one job of them with several paths or numjobs"
            ));
        }
    }
    sections.into_iter().map(|section| section.translate()).collect()
}

/// By the name that fio's manual has first: the name that the file has, and the value.
type Entries = BTreeMap<String, (String, String)>;

#[derive(Debug)]
struct Section {
    name: String,
    entries: Entries,
}

/// A job that is being translated.
#[derive(Debug)]
struct Translation {
    name: String,
    entries: Entries,
    job: Job,
    peers: u64,
}

impl Section {
    fn translate(self) -> Result<Job, String> {
        let name = self.name;
        let job = Job { name: Some(name.clone()), ..Job::default() };
        let mut all = Translation { name, entries: self.entries, job, peers: 1 };
        all.accept()?;
        all.places()?;
        all.requests()?;
        all.time()?;
        all.arrivals()?;
        all.contents()?;
        match all.entries.values().next() {
            Some((key, _)) => {
                Err(format!("fio's option '{key}' of the job {} is not known here: leave it out", all.name))
            }
            None => Ok(all.job),
        }
    }
}

impl Translation {
    /// What is always so here, what cannot be, and what changes nothing.
    fn accept(&mut self) -> Result<(), String> {
        if let Some(name) = self.take("name") {
            self.job.name = Some(name);
        }
        let engine = self.take("ioengine").unwrap_or_else(|| "psync".to_owned());
        if !["io_uring", "libaio"].contains(&engine.as_str()) {
            return Err(self.refused("ioengine", &engine, "this is io_uring: say ioengine=io_uring or libaio"));
        }
        self.note(format!("ioengine={engine}: the engine here is Bireme's own, over io_uring"));
        let (direct, buffered) = (self.flag("direct")?, self.flag("buffered")?);
        if direct.is_none() && buffered.is_none() {
            self.note("direct is not set: fio would go through the page cache, here requests go past it".to_owned());
        }
        if direct == Some(false) || buffered == Some(true) {
            let why = "requests go past the page cache here, which would be measured otherwise: say direct=1";
            return Err(self.refused("direct", "0", why));
        }
        for (key, option) in [("hipri", "iopoll"), ("sqthread_poll", "sqpoll")] {
            if self.flag(key)? == Some(true) {
                self.set(key, option, Vec::new());
            }
        }
        if self.flag("do_verify")? == Some(false) {
            return Err(self.refused("do_verify", "0", "what is verified is read back too"));
        }
        if self.flag("randrepeat")? == Some(false) {
            self.note(
                "randrepeat=0: the addresses derive from --seed and repeat; give another seed for others".to_owned(),
            );
        }
        let idle = [
            "group_reporting",
            "stonewall",
            "thread",
            "registerfiles",
            "fixedbufs",
            "cpus_allowed_policy",
            "description",
        ];
        let idle: Vec<&str> = idle.into_iter().filter(|key| self.entries.remove(*key).is_some()).collect();
        if !idle.is_empty() {
            self.note(format!("needs no action: {}", idle.join(", ")));
        }
        Ok(())
    }

    /// Which devices, where on them, by how many threads.
    fn places(&mut self) -> Result<(), String> {
        if let Some(names) = self.take("filename") {
            self.set("filename", PATHS, values::paths(&names));
        }
        self.peers = self.number("numjobs")?.unwrap_or(1);
        self.set("numjobs", "peers", vec![self.peers.to_string()]);
        if self.peers > 1 {
            self.note(
                "numjobs: the peers share the devices and, in order, the addresses, where fio's jobs all do the same"
                    .to_owned(),
            );
        }
        if let Some(cpus) = self.take("cpus_allowed") {
            let cores =
                values::cores(&cpus).ok_or_else(|| self.refused("cpus_allowed", &cpus, "write cores as 0-3,8"))?;
            self.set("cpus_allowed", "cores", cores);
        }
        Ok(())
    }

    /// What is asked for.
    fn requests(&mut self) -> Result<(), String> {
        let rw = self.take("rw").unwrap_or_else(|| "read".to_owned());
        let pattern = if rw == "readwrite" { "rw" } else { &rw };
        self.set("rw", "rw", vec![pattern.to_owned()]);
        let read_percent = match (self.number("rwmixread")?, self.number("rwmixwrite")?) {
            (Some(reads), _) => reads,
            (None, Some(writes)) => 100_u64.saturating_sub(writes),
            (None, None) => 50,
        };
        self.set("rwmixread", "read-percent", vec![read_percent.to_string()]);
        let sizes = match self.take("bssplit") {
            Some(split) => values::split(&split)
                .ok_or_else(|| self.refused("bssplit", &split, "write SIZE/PERCENT:SIZE/PERCENT"))?,
            None => self.bytes("bs")?.unwrap_or(4096).to_string(),
        };
        self.entries.remove("bs");
        self.set("bs", "bs", vec![sizes]);
        let depth = self.number("iodepth")?.unwrap_or(1);
        self.set("iodepth", "depth", vec![depth.to_string()]);
        for (key, option) in [("iodepth_batch", "batch-submit"), ("iodepth_batch_complete", "batch-complete")] {
            if let Some(count) = self.number(key)? {
                self.set(key, option, vec![count.max(1).to_string()]);
            } else if depth > 1 && key == "iodepth_batch" {
                self.note(
                    "iodepth_batch is not set: fio then submits one at a time, here all that is due goes at once"
                        .to_owned(),
                );
            } else if depth >= 16 && key == "iodepth_batch_complete" {
                self.note(
                    "iodepth_batch_complete_min is not set: fio then wakes up for each, here for as many as end within 100 us"
                        .to_owned(),
                );
            }
        }
        let norandommap = self.flag("norandommap")? == Some(true);
        if rw.starts_with("rand") && !norandommap {
            self.note(
                "norandommap is not set: places are drawn with replacement here, in fio each comes once a round"
                    .to_owned(),
            );
        }
        if let Some(law) = self.take("random_distribution") {
            let ours = match law.as_str() {
                "random" => "uniform".to_owned(),
                law if law.starts_with("zipf:") => law.to_owned(),
                _ => return Err(self.refused("random_distribution", &law, "random and zipf:THETA are known")),
            };
            self.set("random_distribution", "distribution", vec![ours]);
        }
        if let Some(seed) = self.number("randseed")? {
            self.set("randseed", "seed", vec![seed.to_string()]);
        }
        Ok(())
    }

    /// How long, and on how much.
    fn time(&mut self) -> Result<(), String> {
        let (runtime, time_based) = (self.time_of("runtime")?, self.flag("time_based")? == Some(true));
        let (size, io_size) = (self.bytes("size")?, self.bytes("io_size")?);
        let (offset, loops) = (self.bytes("offset")?.unwrap_or(0), self.number("loops")?.unwrap_or(1));
        if let Some(warm_up) = self.time_of("ramp_time")?.filter(|&microseconds| microseconds > 0) {
            self.set("ramp_time", "warmup", vec![format!("{warm_up}us")]);
        }
        if size.is_some() || offset > 0 {
            let end = size.map_or(String::new(), |size| offset.saturating_add(size).to_string());
            self.set("size", "region", vec![format!("{offset}..{end}")]);
        }
        match (runtime.filter(|&microseconds| microseconds > 0), io_size.or(size)) {
            (Some(runtime), bytes) => {
                self.set("runtime", "runtime", vec![format!("{runtime}us")]);
                if !time_based && bytes.is_some() {
                    self.note("time_based is not set: fio would end earlier if it were through with size, here runtime decides".to_owned());
                }
                Ok(())
            }
            (None, Some(_)) if time_based => Err(format!("the job {} is time_based and has no runtime", self.name)),
            (None, Some(bytes)) => {
                let all = bytes.saturating_mul(loops).saturating_mul(self.peers);
                self.set("size", "bytes", vec![all.to_string()]);
                Ok(())
            }
            (None, None) => Err(format!("the job {} has neither runtime nor size: give it one", self.name)),
        }
    }

    fn arrivals(&mut self) -> Result<(), String> {
        let process = self.take("rate_process");
        if let Some(rate) = self.number("rate_iops")?.filter(|&rate| rate > 0) {
            self.set("rate_iops", "arrival-rate", vec![rate.saturating_mul(self.peers).to_string()]);
            let spread = match process.as_deref() {
                None | Some("linear") => "constant",
                Some("poisson") => "poisson",
                Some(other) => return Err(self.refused("rate_process", other, "linear and poisson are known")),
            };
            self.set("rate_process", "arrivals", vec![spread.to_owned()]);
            self.note("rate_iops: arrivals are on a schedule of their own here, and latency counts from it".to_owned());
        }
        Ok(())
    }

    /// What is written, and how durable it is.
    fn contents(&mut self) -> Result<(), String> {
        let flushes = [self.number("fsync")?, self.number("fdatasync")?];
        if let Some(every) = flushes.into_iter().flatten().filter(|&every| every > 0).min() {
            self.set("fsync", "flush-every", vec![every.to_string()]);
        }
        match self.take("sync").as_deref() {
            None | Some("0" | "none") => {}
            Some("" | "1" | "sync" | "dsync") => self.set("sync", "fua", Vec::new()),
            Some(other) => return Err(self.refused("sync", other, "none, sync and dsync are known")),
        }
        if self.flag("zero_buffers")? == Some(true) {
            self.set("zero_buffers", "data", vec!["zero".to_owned()]);
        }
        match self.take("verify").as_deref() {
            None | Some("0" | "null") => {}
            Some(kind) => {
                self.set("verify", "verify", Vec::new());
                self.note(format!(
                    "verify={kind}: blocks have Bireme's own header and crc32c, and are read back at the end"
                ));
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    fn set(&mut self, key: &str, option: &str, values: Vec<String>) {
        self.job.settings.push(Setting::new(key, option, values));
    }

    fn note(&mut self, note: String) {
        self.job.notes.push(format!("job {}: {note}", self.name));
    }

    fn refused(&self, key: &str, value: &str, why: &str) -> String {
        format!("'{key}={value}' of the job {} is refused: {why}", self.name)
    }

    fn read<T>(&mut self, key: &str, read: fn(&str) -> Option<T>, want: &str) -> Result<Option<T>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.refused(key, &value, want))
    }

    fn number(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.read(key, |text| text.parse().ok(), "write one whole number")
    }

    fn bytes(&mut self, key: &str) -> Result<Option<u64>, String> {
        let want = "write one size in bytes or with k, m, g or t, which fio counts in 1024s (it counts ki in 1000s)";
        self.read(key, values::bytes, want)
    }

    /// In microseconds.
    fn time_of(&mut self, key: &str) -> Result<Option<u64>, String> {
        self.read(key, values::microseconds, "write seconds, or a number with us, ms, s, m, h or d")
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        let read = |text: &str| match text {
            "" | "1" => Some(true),
            "0" => Some(false),
            _ => None,
        };
        self.read(key, read, "it is 0 or 1")
    }
}

/// Other names of the same option.
fn canonical(key: &str) -> &str {
    match key {
        "readwrite" => "rw",
        "blocksize" => "bs",
        "iodepth_batch_submit" => "iodepth_batch",
        "iodepth_batch_complete_min" => "iodepth_batch_complete",
        "io_limit" => "io_size",
        "wait_for_previous" => "stonewall",
        _ => key,
    }
}

#[cfg(test)]
mod tests;
