//! Job files as teams have them.

use super::*;

fn settings(job: &Job) -> Vec<String> {
    let one = |setting: &Setting| format!("{}={}", setting.option, setting.values.join("|"));
    job.settings.iter().map(one).collect()
}

fn one(text: &str) -> Job {
    let [job] = parse(text).expect("a job").try_into().expect("one");
    job
}

#[test]
fn a_common_job_is_translated_with_fios_defaults() {
    let job = one("; a comment\n[global]\nioengine=libaio\ndirect=1\n\n[first]\nfilename=/dev/a:/dev/b\nsize=1g\n");
    assert_eq!(job.name.as_deref(), Some("first"));
    assert_eq!(
        settings(&job),
        [
            "paths=/dev/a|/dev/b",
            "peers=1",
            "rw=read",
            "read-percent=50",
            "bs=4096",
            "depth=1",
            "region=0..1073741824",
            "bytes=1073741824"
        ]
    );
    let text = "[global]\nioengine=io_uring\ndirect=1\nbs=64k\ntime_based\nruntime=1m\ngroup_reporting\n[mix]\nfilename = /dev/a\n\
                readwrite=randrw\nrwmixwrite=20\nblocksize=8k\niodepth=32\niodepth_batch=8\niodepth_batch_complete_min=4\n\
                numjobs=2\noffset=1m\nramp_time=5\nnorandommap\nrandom_distribution=zipf:1.2\nrandseed=9\ncpus_allowed=0-1\n\
                rate_iops=1000\nrate_process=poisson\nfdatasync=64\nverify=crc32c\nthread\nhipri=0\nsqthread_poll=1\n";
    let job = one(text);
    assert_eq!(
        settings(&job),
        [
            "sqpoll=",
            "paths=/dev/a",
            "peers=2",
            "cores=0|1",
            "rw=randrw",
            "read-percent=80",
            "bs=8192",
            "depth=32",
            "batch-submit=8",
            "batch-complete=4",
            "distribution=zipf:1.2",
            "seed=9",
            "warmup=5000000us",
            "region=1048576..",
            "runtime=60000000us",
            "arrival-rate=2000",
            "arrivals=poisson",
            "flush-every=64",
            "verify="
        ]
    );
    let notes = job.notes.join("\n");
    assert!(
        notes.contains("needs no action: group_reporting, thread") && notes.contains("own, over io_uring"),
        "{notes}"
    );
    assert!(!notes.contains("norandommap") && notes.contains("verify=crc32c"), "{notes}");
}

#[test]
fn what_would_be_something_else_is_refused_or_said() {
    let base = "[global]\nioengine=io_uring\ndirect=1\nruntime=1\nfilename=/dev/a\n";
    #[rustfmt::skip]
    let cases = [
        ("[a]\nbuffered=1", "page cache"),
        ("[a]\ndirect=0", "page cache"),
        ("[a]\nioengine=sync", "this is io_uring"),
        ("[a]\nhipri=2", "0 or 1"),
        ("[a]\nlatency_target=1", "'latency_target' of the job a is not known"),
        ("[a]\nBS=4k", "'BS' of the job a"),
        ("[a]\nbs=4k,8k", "'bs=4k,8k' of the job a is refused: write one size"),
        ("[a]\nbs=4KiB", "counts ki in 1000s"),
        ("[a]\nsize=50%", "'size=50%'"),
        ("[a]\nrate_iops=5\nrate_process=bursts", "linear and poisson"),
        ("[a]\nrandom_distribution=pareto:0.9", "random and zipf"),
        ("[a]\ntime_based=maybe", "0 or 1"),
        ("[a]\nruntime=0", "neither runtime nor size"),
        ("[a]\nruntime=0\nsize=1g\ntime_based", "no runtime"),
        ("[a]\nrw=read\n[b]\nrw=write", "a and b would run side by side"),
        ("", "no [job]"),
    ];
    for (text, want) in cases {
        let error = parse(&format!("{base}{text}")).expect_err(want);
        assert!(error.contains(want), "{want}: {error}");
    }
    assert!(parse("rw=read\n[a]").is_err_and(|error| error.contains("line 1")));
    let jobs = parse(&format!("{base}[a]\nrw=write\n[b]\nstonewall\nrw=randread")).expect("two jobs");
    assert!(jobs.len() == 2 && jobs[1].notes.iter().any(|note| note.contains("with replacement")));
}
