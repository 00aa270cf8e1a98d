//! Intel's ISA-L beside our kernels, found at run time where it is installed: nothing is linked.

use std::ffi::{CStr, c_int, c_uint, c_void};

/// The library's functions for parity and CRC-32C.
#[derive(Clone, Copy, Debug)]
pub struct Isal {
    xor_gen: Generate,
    pq_gen: Generate,
    crc32_iscsi: Crc,
}

/// `int f(int vects, int len, void **array)`: sources first, then parity; 0 is success.
type Generate = unsafe extern "C" fn(c_int, c_int, *mut *mut c_void) -> c_int;
/// `unsigned int f(unsigned char *buffer, int len, unsigned int init)`
type Crc = unsafe extern "C" fn(*mut u8, c_int, c_uint) -> c_uint;

impl Isal {
    /// The library, if the system has it.
    pub fn load() -> Option<Isal> {
        // SAFETY: the name ends with 0, and the library's initialisers only ask the processor for its features.
        let library = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        // The library is never closed, so its functions stay valid for the life of the process.
        let symbol = |name: &CStr| {
            // SAFETY: the handle was checked to be one, and the name ends with 0.
            let symbol = (!library.is_null()).then(|| unsafe { libc::dlsym(library, name.as_ptr()) });
            symbol.filter(|symbol| !symbol.is_null())
        };
        let (xor_gen, pq_gen, crc32_iscsi) = (symbol(c"xor_gen")?, symbol(c"pq_gen")?, symbol(c"crc32_iscsi")?);
        Some(Isal {
            // SAFETY: not null, and raid.h declares the function with this signature.
            xor_gen: unsafe { std::mem::transmute::<*mut c_void, Generate>(xor_gen) },
            // SAFETY: not null, and raid.h declares the function with this signature.
            pq_gen: unsafe { std::mem::transmute::<*mut c_void, Generate>(pq_gen) },
            // SAFETY: not null, and crc.h declares the function with this signature.
            crc32_iscsi: unsafe { std::mem::transmute::<*mut c_void, Crc>(crc32_iscsi) },
        })
    }

    /// The parity of `data`: one shard for P, two for P and Q.
    ///
    /// # Panics
    /// When the shards are not 2 to 255 of data and 1 or 2 of parity, all of one length, a multiple of [`ALIGNMENT`],
    /// and so aligned.
    pub fn encode(self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        assert!((2..=255).contains(&data.len()) && (1..=2).contains(&parity.len()), "shards that ISA-L takes");
        let bytes = data[0].len();
        let mut array = [std::ptr::null_mut(); 257];
        let pointers = data
            .iter()
            .map(|d| (d.as_ptr().cast_mut(), d.len()))
            .chain(parity.iter_mut().map(|p| (p.as_mut_ptr(), p.len())));
        for (place, (pointer, length)) in array.iter_mut().zip(pointers) {
            assert!(length == bytes && pointer.addr() % ALIGNMENT == 0, "shards of one length, aligned");
            *place = pointer.cast::<c_void>();
        }
        assert!(bytes.is_multiple_of(ALIGNMENT), "a length that ISA-L takes");
        let generate = if parity.len() == 1 { self.xor_gen } else { self.pq_gen };
        // SAFETY: the array holds as many pointers as it says, each to `bytes` bytes of the alignment that ISA-L
        // demands; it writes only to the last one or two, which are borrowed for writing.
        let status = unsafe { generate(int(data.len() + parity.len()), int(bytes), array.as_mut_ptr()) };
        assert_eq!(status, 0, "ISA-L takes these shards");
    }

    /// CRC-32C of some bytes.
    pub fn crc32c(self, bytes: &[u8]) -> u32 {
        // SAFETY: the function reads as many bytes as the slice has, and writes none.
        !unsafe { (self.crc32_iscsi)(bytes.as_ptr().cast_mut(), int(bytes.len()), !0) }
    }
}

fn int(value: usize) -> c_int {
    c_int::try_from(value).expect("shards are at most 16 MiB")
}

/// What ISA-L wants of pointers and lengths.
pub const ALIGNMENT: usize = 64;
const NAME: &CStr = c"libisal.so.2";
