//! The registers as plain arrays: what the others are held against, and what machines without their instructions run.

use std::array::from_fn;

use half::f16;

use super::activations::Order;
use super::kernel::{Vector, kernel};
use super::{BLOCK, LINE};
use crate::dispatch::multiply_add;
use crate::simd::LANES;

kernel!(Plain, of_bytes);

pub(super) struct Plain;

impl Vector for Plain {
    const LANES: usize = LANES;
    const ORDER: Order = Order::Words;
    type Codes = [u8; LINE];
    type Dots = [i32; LANES];
    type Floats = [f32; LANES];

    #[inline(always)]
    fn load(bytes: &[u8]) -> [u8; LINE] {
        *bytes.first_chunk().expect("a whole line")
    }

    #[inline(always)]
    fn store(codes: [u8; LINE], bytes: &mut [u8]) {
        *bytes.first_chunk_mut().expect("a whole line") = codes;
    }

    #[inline(always)]
    fn prefetch(_bytes: &[u8], _ahead: usize) {}

    #[inline(always)]
    fn moved(codes: [u8; LINE], by: i32, mask: u8) -> [u8; LINE] {
        codes.map(|code| if by < 0 { code >> -by & mask } else { code << by & mask })
    }

    #[inline(always)]
    fn or(a: [u8; LINE], b: [u8; LINE]) -> [u8; LINE] {
        from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn look_up(codes: [u8; LINE], table: &[u8; 16]) -> [u8; LINE] {
        codes.map(|code| table[usize::from(code & 15)])
    }

    #[inline(always)]
    fn dots(start: i32) -> [i32; LANES] {
        [start; LANES]
    }

    #[inline(always)]
    fn add(dots: [i32; LANES], codes: [u8; LINE], q: &[i16; BLOCK], word: usize) -> [i32; LANES] {
        let [q0, q2, q1, q3] = from_fn(|i| i32::from(q[4 * word + i]));
        from_fn(|lane| {
            let [c0, c1, c2, c3] = from_fn(|i| i32::from(codes[4 * lane + i]));
            dots[lane] + c0 * q0 + c1 * q1 + c2 * q2 + c3 * q3
        })
    }

    #[inline(always)]
    fn to_floats(dots: [i32; LANES]) -> [f32; LANES] {
        dots.map(|dot| dot as f32)
    }

    #[inline(always)]
    fn splat(x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8]) -> [f32; LANES] {
        from_fn(|lane| f16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]]).to_f32())
    }

    #[inline(always)]
    fn from_bytes(bytes: &[u8]) -> [f32; LANES] {
        from_fn(|lane| f32::from(bytes[lane] as i8))
    }

    #[inline(always)]
    fn from_low_nibbles(bytes: &[u8]) -> [f32; LANES] {
        from_fn(|lane| f32::from(bytes[lane] & 15))
    }

    #[inline(always)]
    fn from_high_nibbles(bytes: &[u8]) -> [f32; LANES] {
        from_fn(|lane| f32::from(bytes[lane] >> 4))
    }

    #[inline(always)]
    fn mul(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn mul_add(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        from_fn(|lane| multiply_add(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    fn store_floats(x: [f32; LANES], to: &mut [f32]) {
        *to.first_chunk_mut().expect("16 values") = x;
    }
}
