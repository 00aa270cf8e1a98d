//! Requests as commands to an NVMe controller, past the block layer (`IORING_OP_URING_CMD` on `/dev/ngXnY`).
//!
//! The layout of the command is that of `struct nvme_uring_cmd` of `linux/nvme_ioctl.h`; opcodes and status codes are those
//! of the NVM Express base and NVM command set specifications.

use io_uring::{opcode, squeue, types};

use super::BUFFER;
use crate::device::Namespace;
use crate::port::Operation;

/// The entry for a request; `start` is its memory, or null where it has none. `None`: no command does that.
pub(super) fn entry(
    namespace: Namespace,
    file: types::Fixed,
    operation: Operation,
    offset: u64,
    start: *const u8,
) -> Option<squeue::Entry128> {
    let (opcode, bytes) = match operation {
        Operation::Read(span) => (READ, span.bytes),
        Operation::Write(span) => (WRITE, span.bytes),
        Operation::Flush => (FLUSH, 0),
        _ => return None,
    };
    let mut command = [0; COMMAND_BYTES];
    let mut put = |at: usize, bytes: &[u8]| command[at..at + bytes.len()].copy_from_slice(bytes);
    put(OPCODE, &[opcode]);
    put(NAMESPACE, &namespace.id.to_ne_bytes());
    if bytes > 0 {
        let (first, blocks) = (offset >> namespace.block_shift, bytes >> namespace.block_shift);
        put(ADDRESS, &(start.addr() as u64).to_ne_bytes());
        put(BYTES, &bytes.to_ne_bytes());
        // The first block in words 10 and 11; their number, less one, in the low half of word 12.
        put(WORD_10, &first.to_ne_bytes());
        put(WORD_12, &blocks.saturating_sub(1).to_ne_bytes());
    }
    let registered = (bytes > 0).then_some(BUFFER);
    Some(opcode::UringCmd80::new(file, IO_COMMAND).cmd(command).buf_index(registered).build())
}

/// What became of a command, as a transfer would have said it: `bytes` moved, or an errno.
pub(super) fn outcome(result: i32, bytes: u32) -> Result<u32, i32> {
    match result {
        0 => Ok(bytes),
        // Zero or more is the controller's status, with its type in bits 8 to 10; less is the kernel's errno.
        errno if errno < 0 => Err(-errno),
        status => Err(match status & STATUS_MASK {
            INVALID_OPCODE => libc::EOPNOTSUPP,
            INVALID_FIELD | OUT_OF_RANGE => libc::EINVAL,
            CAPACITY_EXCEEDED => libc::ENOSPC,
            READ_ONLY => libc::EROFS,
            UNRECOVERED_READ => libc::ENODATA,
            _ => libc::EIO,
        }),
    }
}

/// `_IOWR('N', 0x80, struct nvme_uring_cmd)`.
const IO_COMMAND: u32 = 3 << 30 | 72 << 16 | 0x4e << 8 | 0x80;
/// The room of a wide entry; the command takes 72 bytes of it.
const COMMAND_BYTES: usize = 80;

const OPCODE: usize = 0;
const NAMESPACE: usize = 4;
const ADDRESS: usize = 24;
const BYTES: usize = 36;
const WORD_10: usize = 40;
const WORD_12: usize = 48;

const FLUSH: u8 = 0x00;
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;

const STATUS_MASK: i32 = 0x7ff;
const INVALID_OPCODE: i32 = 0x001;
const INVALID_FIELD: i32 = 0x002;
const OUT_OF_RANGE: i32 = 0x080;
const CAPACITY_EXCEEDED: i32 = 0x081;
const READ_ONLY: i32 = 0x182;
const UNRECOVERED_READ: i32 = 0x281;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_become_errors() {
        assert_eq!(outcome(0, 4096), Ok(4096));
        assert_eq!(outcome(-libc::EINTR, 4096), Err(libc::EINTR));
        // "Do not retry" is bit 14 and says nothing about what happened.
        assert_eq!(outcome(0x4002, 4096), Err(libc::EINVAL));
        assert_eq!(outcome(0x281, 4096), Err(libc::ENODATA));
        assert_eq!(outcome(0x006, 4096), Err(libc::EIO));
    }
}
