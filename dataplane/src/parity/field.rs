//! The field of 256 elements that Q is computed in: polynomial 0x11d, generator 2.
//!
//! Addition is exclusive or. A product with a constant is linear in the bits of the other factor, so each constant has
//! tables in the two forms that instructions take: 16 products per nibble for shuffles, and the 8 x 8 matrix of bits
//! for GFNI. The tables of all 256 constants are 10 KiB, made by the compiler.

/// A constant to multiply by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    /// The constant.
    pub(super) value: u8,
    /// Its products with 0 to 15.
    pub(super) low: [u8; 16],
    /// Its products with 0x00, 0x10, .. 0xf0.
    pub(super) high: [u8; 16],
    /// Its matrix as `gf2p8affineqb` wants it: the row of the highest bit of the product in the lowest byte.
    pub(super) matrix: u64,
}

impl Factor {
    pub(super) fn of(value: u8) -> &'static Factor {
        &FACTORS[usize::from(value)]
    }

    const fn new(value: u8) -> Factor {
        let (mut low, mut high) = ([0; 16], [0; 16]);
        let mut nibble = 0u8;
        while nibble < 16 {
            low[nibble as usize] = multiply(value, nibble);
            high[nibble as usize] = multiply(value, nibble << 4);
            nibble += 1;
        }
        Factor { value, low, high, matrix: matrix(value) }
    }
}

/// g^exponent for any exponent: the powers of g repeat after 255.
pub(super) fn power(exponent: usize) -> u8 {
    POWERS[exponent % POWERS.len()]
}

/// What `value` must be multiplied by to give 1.
///
/// # Panics
/// Of 0, which has none.
pub(super) fn inverse(value: u8) -> u8 {
    let exponent = POWERS.iter().position(|&power| power == value).expect("each element but 0 is a power of g");
    power(POWERS.len() - exponent)
}

/// The product, by shifts and additions.
pub(super) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut shifted, mut bit) = (0, a, 0);
    while bit < 8 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = double(shifted);
        bit += 1;
    }
    product
}

const fn double(a: u8) -> u8 {
    (a << 1) ^ if a >> 7 == 1 { REDUCTION } else { 0 }
}

const fn matrix(value: u8) -> u64 {
    let (mut matrix, mut column) = (0u64, 0);
    while column < 8 {
        let product = multiply(value, 1 << column);
        let mut bit = 0;
        while bit < 8 {
            if product >> bit & 1 == 1 {
                matrix |= 1 << ((7 - bit) * 8 + column);
            }
            bit += 1;
        }
        column += 1;
    }
    matrix
}

const fn powers() -> [u8; 255] {
    let (mut powers, mut exponent) = ([1; 255], 1);
    while exponent < powers.len() {
        powers[exponent] = double(powers[exponent - 1]);
        exponent += 1;
    }
    powers
}

const fn factors() -> [Factor; 256] {
    let mut factors = [Factor::new(0); 256];
    let mut value = u8::MAX;
    while value > 0 {
        factors[value as usize] = Factor::new(value);
        value -= 1;
    }
    factors
}

/// What x^8 is worth: the polynomial without its highest bit.
pub(super) const REDUCTION: u8 = 0x1d;
static POWERS: [u8; 255] = powers();
static FACTORS: [Factor; 256] = factors();

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The schoolbook's way: multiply the polynomials, then divide by 0x11d.
    fn product(a: u8, b: u8) -> u8 {
        let mut wide = (0..8).filter(|bit| b >> bit & 1 == 1).fold(0u16, |sum, bit| sum ^ u16::from(a) << bit);
        for bit in (8..16).rev() {
            if wide >> bit & 1 == 1 {
                wide ^= 0x11d << (bit - 8);
            }
        }
        u8::try_from(wide).unwrap()
    }

    #[test]
    fn products_are_those_of_the_polynomials() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), product(a, b), "{a} x {b}");
            }
        }
    }

    #[test]
    fn two_generates_the_field() {
        let powers: BTreeSet<u8> = (0..255).map(power).collect();
        assert_eq!(powers.len(), 255);
        assert!(!powers.contains(&0));
        assert_eq!((power(0), power(1), power(8), power(254), power(255)), (1, 2, 0x1d, 0x8e, 1));
        for value in 1..=255 {
            assert_eq!(product(value, inverse(value)), 1, "{value}");
        }
    }

    #[test]
    fn the_tables_of_each_constant_give_its_products() {
        for a in 0..=255u8 {
            let factor = Factor::of(a);
            assert_eq!(factor.value, a);
            for b in 0..=255u8 {
                let shuffled = factor.low[usize::from(b & 15)] ^ factor.high[usize::from(b >> 4)];
                // Intel's definition: bit i of the result is the parity of byte 7 - i of the matrix and the operand.
                let rows = factor.matrix.to_be_bytes();
                let affine = (0..8).fold(0u8, |sum, bit| {
                    let parity = (rows[bit] & b).count_ones() & 1;
                    sum | u8::try_from(parity).unwrap() << bit
                });
                assert_eq!((shuffled, affine), (product(a, b), product(a, b)), "{a} x {b}");
            }
        }
    }
}
