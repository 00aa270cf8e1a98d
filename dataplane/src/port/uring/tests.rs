//! The port against the kernel it runs on: files, short answers, woven requests, wake-ups.

use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use bireme_control::raid::geometry::{Geometry, Level};

use super::*;
use crate::buffer::Span;

fn file(bytes: u64) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_TMPFILE);
    let file = options.open(std::env::temp_dir()).expect("a file without a name");
    file.set_len(bytes).expect("room");
    file
}

fn port(files: &[BorrowedFd<'_>], bells: &Bells, bell: Bell) -> Uring {
    let files: Vec<_> = files.iter().copied().map(Some).collect();
    port_with_gaps(&files, bells, bell)
}

fn port_with_gaps(files: &[Option<BorrowedFd<'_>>], bells: &Bells, bell: Bell) -> Uring {
    port_by(Method::Interrupts, files, bells, bell)
}

fn port_by(method: Method, files: &[Option<BorrowedFd<'_>>], bells: &Bells, bell: Bell) -> Uring {
    let (origin, bells, patience) = (Instant::now(), bells.clone(), Nanos::from_secs(30));
    let wishes = Wishes {
        files,
        namespaces: &[],
        method,
        region_bytes: 1 << 20,
        limit: 8,
        weave_pieces: 64,
        origin,
        bells,
        bell,
        patience,
    };
    Uring::new(&wishes).expect("a kernel with io_uring")
}

fn one(port: &mut Uring, file: u16, offset: u64, operation: Operation) -> Result<u32, i32> {
    port.push(Request { token: 7, file, offset, operation }).expect("a free place");
    loop {
        port.submit(Next::Event).expect("a ring that works");
        if let Some(done) = port.reap() {
            assert_eq!(done.token, 7);
            return done.result;
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let file = file(1 << 20);
    let mut port = port(&[file.as_fd()], &Bells::new(1), Bell(0));
    let (out, back) = (Span::new(0, 8192), Span::new(65536, 8192));
    port.region_mut().bytes_mut(out).iter_mut().enumerate().for_each(|(i, b)| *b = i.to_le_bytes()[0]);
    assert_eq!(one(&mut port, 0, 4096, Operation::Write(out)), Ok(8192));
    assert_eq!(one(&mut port, 0, 0, Operation::Flush), Ok(0));
    assert_eq!(one(&mut port, 0, 4096, Operation::Read(back)), Ok(8192));
    assert_eq!(port.region().bytes(out), port.region().bytes(back));
    assert_eq!(one(&mut port, 0, (1 << 20) - 4096, Operation::Read(back)), Ok(4096), "the end of the file");
    assert_eq!(one(&mut port, 0, 1, Operation::Write(out)), Err(libc::EINVAL), "O_DIRECT refuses byte 1");
    assert_eq!(one(&mut port, 1, 0, Operation::Read(back)), Err(libc::EBADF), "there is no file 1");
    assert_eq!(port.in_flight(), 0);
}

#[test]
fn a_thread_of_the_kernel_hands_over_and_is_woken_when_it_sleeps() {
    let file = file(1 << 20);
    let mut port = port_by(Method::KernelThread { core: None }, &[Some(file.as_fd())], &Bells::new(1), Bell(0));
    let effective = port.effective().clone();
    assert!(effective.device_flags.contains(&"SQPOLL"), "{effective:?}");
    assert!(!effective.device_flags.contains(&"DEFER_TASKRUN"), "the thread's task work is its own: {effective:?}");
    let (out, back) = (Span::new(0, 4096), Span::new(8192, 4096));
    for round in 0u8..3 {
        port.region_mut().bytes_mut(out).fill(round);
        assert_eq!(one(&mut port, 0, 4096, Operation::Write(out)), Ok(4096));
        assert_eq!(one(&mut port, 0, 4096, Operation::Read(back)), Ok(4096));
        assert_eq!(port.region().bytes(out), port.region().bytes(back));
        // It sleeps after a second without work.
        let until = port.now() + Nanos::from_millis(1300);
        while round < 1 && port.now() < until {
            port.submit(Next::At(until)).expect("a ring that works");
        }
    }
}

#[test]
fn a_ring_that_polls_says_that_a_file_has_no_queue_to_poll() {
    let file = file(1 << 20);
    // A hole is read without asking a device.
    let mut plain = port(&[file.as_fd()], &Bells::new(1), Bell(0));
    plain.region_mut().bytes_mut(Span::new(0, 4096)).fill(7);
    assert_eq!(one(&mut plain, 0, 0, Operation::Write(Span::new(0, 4096))), Ok(4096));
    let mut port = port_by(Method::Polling, &[Some(file.as_fd())], &Bells::new(1), Bell(0));
    assert!(port.effective().device_flags.contains(&"IOPOLL"));
    assert_eq!(one(&mut port, 0, 0, Operation::Read(Span::new(0, 4096))), Err(libc::EOPNOTSUPP));
}

/// The kernel has sixteen places for registered rings of a thread, and keeps a ring open that has one.
#[test]
fn a_thread_may_build_one_port_after_the_other() {
    let file = file(1 << 20);
    for number in 0..40 {
        let mut port = port(&[file.as_fd()], &Bells::new(1), Bell(0));
        assert!(port.effective().registered_ring, "port {number}");
        assert_eq!(one(&mut port, 0, 0, Operation::Flush), Ok(0));
    }
}

#[test]
fn a_file_that_is_absent_keeps_its_place() {
    let file = file(1 << 20);
    let mut port = port_with_gaps(&[None, Some(file.as_fd()), None], &Bells::new(1), Bell(0));
    assert_eq!(port.effective().registered_files, 1);
    assert_eq!(one(&mut port, 1, 0, Operation::Write(Span::new(0, 8192))), Ok(8192));
    for absent in [0, 2] {
        assert_eq!(one(&mut port, absent, 0, Operation::Write(Span::new(0, 8192))), Err(libc::EBADF));
    }
}

#[test]
fn a_woven_write_puts_the_columns_in_the_order_of_the_file() {
    let file = file(1 << 20);
    let mut port = port(&[file.as_fd()], &Bells::new(1), Bell(0));
    for chunk in 0..4u8 {
        let (row, column) = (u32::from(chunk) / 2, u32::from(chunk) % 2);
        port.region_mut().bytes_mut(Span::new(column * 8192 + row * 4096, 4096)).fill(chunk + 1);
    }
    let geometry = Geometry::new(Level::Raid0, 2, 4096, 16384).expect("a usable shape");
    let weave = Weave { offset: 0, geometry, row: 0, copy: 0, column_bytes: 8192, bytes: 16384, skip: 0 };
    for fixed in [true, false] {
        port.effective.woven_fixed = fixed && port.effective.woven_fixed;
        assert_eq!(one(&mut port, 0, 0, Operation::WriteWoven(weave)), Ok(16384));
        let back = Span::new(65536, 16384);
        assert_eq!(one(&mut port, 0, 0, Operation::Read(back)), Ok(16384));
        for (chunk, bytes) in (1u8..).zip(port.region().bytes(back).chunks(4096)) {
            assert!(bytes.iter().all(|&b| b == chunk), "chunk {chunk} of the file");
        }
        let again = Weave { offset: 131_072, ..weave };
        assert_eq!(one(&mut port, 0, 0, Operation::ReadWoven(again)), Ok(16384));
        assert_eq!(port.region().bytes(Span::new(131_072, 16384)), port.region().bytes(Span::new(0, 16384)));
    }
}

#[test]
fn a_sleeper_is_woken_from_another_thread_and_not_before() {
    let bells = Bells::new(2);
    let built = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sleeper = port(&[], &bells, Bell(0));
            built.wait();
            for _ in 0..1000 {
                sleeper.submit(Next::Event).expect("woken");
                assert_eq!(sleeper.reap(), None);
                built.wait();
            }
        });
        let mut waker = port(&[], &bells, Bell(1));
        built.wait();
        for _ in 0..1000 {
            waker.wake(Bell(0));
            waker.submit(Next::Ready).expect("sent");
            built.wait();
        }
        let early = waker.now();
        waker.submit(Next::At(early + Nanos::from_millis(20))).expect("slept");
        assert!(waker.now().since(early) >= Nanos::from_millis(20), "nobody rang, so it slept to the end");
    });
}

/// A letter was posted, and nobody else will ring for its reader.
#[test]
fn a_thread_that_dies_still_wakes_whom_it_has_rung_for() {
    let bells = Bells::new(2);
    let mut sleeper = port(&[], &bells, Bell(0));
    std::thread::scope(|scope| {
        let dies = scope.spawn(|| {
            let mut waker = port(&[], &bells, Bell(1));
            waker.wake(Bell(0));
            std::panic::resume_unwind(Box::new("it dies before it has submitted"));
        });
        assert!(dies.join().is_err());
    });
    let (began, long) = (sleeper.now(), Nanos::from_secs(20));
    sleeper.submit(Next::At(began + long)).expect("slept");
    assert!(sleeper.now().since(began) < long, "nobody has rung");
}

#[test]
fn a_full_port_is_busy_and_loses_nothing() {
    let file = file(1 << 20);
    let mut port = port(&[file.as_fd()], &Bells::new(1), Bell(0));
    let request = |n: u32| Request {
        token: u64::from(n),
        file: 0,
        offset: 0,
        operation: Operation::Read(Span::new(n * 4096, 4096)),
    };
    for n in 0..8 {
        port.push(request(n)).expect("a free place");
    }
    assert_eq!(port.push(request(8)), Err(Busy));
    let mut seen = [false; 8];
    while port.in_flight() > 0 {
        port.submit(Next::Event).expect("a ring that works");
        while let Some(done) = port.reap() {
            assert!(!std::mem::replace(&mut seen[usize::try_from(done.token).expect("small")], true));
        }
    }
    assert_eq!(seen, [true; 8]);
}

/// A pipe that nobody writes to is a device that does not answer.
#[test]
fn waiting_on_the_spot_ends_when_patience_does() {
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let (origin, bells, patience) = (Instant::now(), Bells::new(1), Nanos::from_millis(50));
    let files = [Some(reader.as_fd())];
    let wishes = Wishes {
        files: &files,
        namespaces: &[],
        method: Method::Interrupts,
        region_bytes: 4096,
        limit: 2,
        weave_pieces: 0,
        origin,
        bells,
        bell: Bell(0),
        patience,
    };
    let mut port = Uring::new(&wishes).expect("a kernel with io_uring");
    let read = Request { token: 7, file: 0, offset: u64::MAX, operation: Operation::Read(Span::new(0, 512)) };
    port.push(read).expect("a free place");
    let error = port.submit(Next::Event).expect_err("no answer");
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    assert!(port.now() >= patience && port.in_flight() == 1);
}
