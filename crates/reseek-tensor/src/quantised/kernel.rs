//! The product of some rows of x with a panel, once for all instruction sets.

use super::activations::{Activations, OfBlock, Order, Whole};
use super::form::{Bits, Scales};
use super::panel::{Panel, Plane, WORDS, planes};
use super::{BLOCK, LINE};
use crate::simd::LANES;

/// Registers for [`Vector::LANES`] rows of W. Everything is inlined into a function that has the instructions enabled, see [`kernel!`].
pub(super) trait Vector {
    /// Rows of W in a register: 8 or 16.
    const LANES: usize;
    /// In what order it reads activations.
    const ORDER: Order;
    /// 4 bytes a lane.
    type Codes: Copy;
    /// Sums of whole numbers, one a lane.
    type Dots: Copy;
    /// One f32 a lane.
    type Floats: Copy;

    fn load(bytes: &[u8]) -> Self::Codes;
    fn store(codes: Self::Codes, bytes: &mut [u8]);
    /// Asks for the line `ahead` bytes behind the first of `bytes`, wherever that is.
    fn prefetch(bytes: &[u8], ahead: usize);
    /// Each byte's bits moved up by `by`, or down where it is negative, where `mask` has ones.
    fn moved(codes: Self::Codes, by: i32, mask: u8) -> Self::Codes;
    fn or(a: Self::Codes, b: Self::Codes) -> Self::Codes;
    fn look_up(codes: Self::Codes, table: &[u8; 16]) -> Self::Codes;

    fn dots(start: i32) -> Self::Dots;
    /// Adds the products of word `word` of a block.
    fn add(dots: Self::Dots, codes: Self::Codes, q: &[i16; BLOCK], word: usize) -> Self::Dots;
    fn to_floats(dots: Self::Dots) -> Self::Floats;

    fn splat(x: f32) -> Self::Floats;
    fn from_halves(bytes: &[u8]) -> Self::Floats;
    fn from_bytes(bytes: &[u8]) -> Self::Floats;
    fn from_low_nibbles(bytes: &[u8]) -> Self::Floats;
    fn from_high_nibbles(bytes: &[u8]) -> Self::Floats;
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// a·b + c.
    fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    fn store_floats(x: Self::Floats, to: &mut [f32]);
}

/// Defines `tile_product` and `unpack` with the registers `$vector`, compiled for `$features`; `$by_codes` chooses among the kernels.
macro_rules! kernel {
    ($vector:ident, $by_codes:ident $(, $features:literal)?) => {
        /// 16 columns of the given rows of y.
        ///
        /// # Safety
        /// The machine has the instructions.
        $(#[target_feature(enable = $features)])?
        pub(super) unsafe fn tile_product(
            sums: &mut [[f32; $crate::simd::LANES]],
            a: &$crate::quantised::activations::Activations,
            rows: std::ops::Range<usize>,
            panel: &$crate::quantised::panel::Panel,
        ) {
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            fn product<const ROWS: usize, const BITS: usize, const TABLE: bool>(
                sums: &mut [[f32; $crate::simd::LANES]],
                a: &$crate::quantised::activations::Activations,
                first: usize,
                panel: &$crate::quantised::panel::Panel,
            ) {
                $crate::quantised::kernel::product::<$vector, ROWS, BITS, TABLE>(sums, a, first, panel);
            }
            $crate::quantised::kernel::$by_codes!(product, rows.len(), panel, (sums, a, rows.start, panel));
        }

        /// Lays the codes of a panel out, a byte each, after the table if there is one.
        ///
        /// # Safety
        /// The machine has the instructions.
        $(#[target_feature(enable = $features)])?
        pub(super) unsafe fn unpack(panel: &$crate::quantised::panel::Panel, bytes: &mut [u8]) {
            $crate::quantised::kernel::unpack::<$vector>(panel, bytes);
        }
    };
}
pub(super) use kernel;

/// `$f::<ROWS, BITS, TABLE>` for so many rows and the panel's codes.
macro_rules! by_codes {
    ($f:ident, $rows:expr, $panel:expr, $arguments:tt) => {
        match ($panel.bits, $panel.table) {
            ($crate::quantised::Bits::Two, _) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 2, false: 1 2 3 4),
            ($crate::quantised::Bits::Three, _) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 3, false: 1 2 3 4),
            ($crate::quantised::Bits::Four, None) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 4, false: 1 2 3 4),
            ($crate::quantised::Bits::Four, Some(_)) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 4, true: 1 2 3 4),
            ($crate::quantised::Bits::Five, _) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 5, false: 1 2 3 4),
            ($crate::quantised::Bits::Six, _) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 6, false: 1 2 3 4),
            ($crate::quantised::Bits::Eight, _) => $crate::quantised::kernel::by_codes!($f, $rows, $arguments, 8, false: 1 2 3 4 5 6 7 8),
        }
    };
    ($f:ident, $rows_of_x:expr, $arguments:tt, $bits:literal, $table:literal: $($rows:literal)*) => {
        match $rows_of_x {
            $($rows => $f::<$rows, $bits, $table> $arguments,)*
            rows => unreachable!("no kernel of {rows} rows"),
        }
    };
}
pub(super) use by_codes;

/// [`by_codes`] for one row and codes of a byte.
macro_rules! of_bytes {
    ($f:ident, $rows:expr, $panel:expr, $arguments:tt) => {{
        assert!($rows == 1 && $panel.bits == $crate::quantised::Bits::Eight, "{} rows", $rows);
        $f::<1, 8, false> $arguments
    }};
}
pub(super) use of_bytes;

/// How far codes are asked for before few rows need them: the processor's own prefetchers end with a page, and panels do not. A fifth to two
/// fifths more bytes a second from memory, measured with 5 and 6 bits.
const AHEAD: usize = 4096;

#[inline(always)]
pub(super) fn product<V: Vector, const ROWS: usize, const BITS: usize, const TABLE: bool>(
    sums: &mut [[f32; LANES]],
    a: &Activations,
    first: usize,
    panel: &Panel,
) {
    let (mut place, step) = a.place(first);
    // Of the first rows of W and, where a register has 8 lanes, of the others.
    let (mut chains, mut others) = ([V::splat(0.0); ROWS], [V::splat(0.0); ROWS]);
    for index in 0..panel.blocks {
        let a = a.blocks::<ROWS>(place);
        if BITS < 8 || ROWS == 1 {
            (0..BITS).for_each(|line| V::prefetch(panel.codes(index), AHEAD + line * LINE));
        }
        block::<V, ROWS, BITS, TABLE>(&mut chains, a, panel, index, 0);
        if V::LANES < LANES {
            block::<V, ROWS, BITS, TABLE>(&mut others, a, panel, index, V::LANES);
        }
        place += step;
    }
    for ((sums, chain), other) in sums.iter_mut().zip(chains).zip(others) {
        V::store_floats(chain, sums);
        if V::LANES < LANES {
            V::store_floats(other, &mut sums[V::LANES..]);
        }
    }
}

/// Adds a block's part to the chains of the rows of W from `at`.
#[inline(always)]
fn block<V: Vector, const ROWS: usize, const BITS: usize, const TABLE: bool>(
    chains: &mut [V::Floats; ROWS],
    a: (&[Whole; ROWS], &[OfBlock; ROWS]),
    panel: &Panel,
    index: usize,
    at: usize,
) {
    if BITS == 8 {
        return block_of_bytes::<V, ROWS>(chains, a, panel, index, at);
    }
    let (q, of) = a;
    let block = &panel.codes(index)[4 * at..BITS * LINE];
    let mut dots = starts::<V, ROWS>(of, 0);
    macro_rules! add {
        ($($word:literal)*) => {$(
            let codes = word::<V, BITS, TABLE, $word>(block, &panel.table);
            for (dots, q) in dots.iter_mut().zip(q) {
                *dots = V::add(*dots, codes, &q.0, $word);
            }
        )*};
    }
    add!(0 1 2 3);
    if panel.groups == 2 {
        extend::<V, ROWS>(chains, &dots, of, panel, (index, 0), at);
        dots = starts::<V, ROWS>(of, 1);
    }
    add!(4 5 6 7);
    extend::<V, ROWS>(chains, &dots, of, panel, (index, panel.groups - 1), at);
}

/// [`block`] where every word is a line. A loop whose count the compiler does not know, so that it stays one: unrolled, the activations of a
/// whole block are loaded first, in many times the registers that there are, and eight rows take twice as long.
#[inline(always)]
fn block_of_bytes<V: Vector, const ROWS: usize>(
    chains: &mut [V::Floats; ROWS],
    (q, of): (&[Whole; ROWS], &[OfBlock; ROWS]),
    panel: &Panel,
    index: usize,
    at: usize,
) {
    let block = &panel.codes(index)[4 * at..WORDS * LINE];
    let words = WORDS / panel.groups;
    for group in 0..panel.groups {
        let mut dots = starts::<V, ROWS>(of, group & 1);
        for word in group * words..(group + 1) * words {
            let codes = V::load(&block[word * LINE..]);
            for (dots, q) in dots.iter_mut().zip(q) {
                *dots = V::add(*dots, codes, &q.0, word);
            }
        }
        extend::<V, ROWS>(chains, &dots, of, panel, (index, group), at);
    }
}

/// Sums of a group without any product. Filled by a loop: `map` would pass them through memory, a quarter slower.
#[inline(always)]
fn starts<V: Vector, const ROWS: usize>(of: &[OfBlock; ROWS], group: usize) -> [V::Dots; ROWS] {
    let mut dots = [V::dots(0); ROWS];
    for (dots, of) in dots.iter_mut().zip(of) {
        *dots = V::dots(of.starts[group]);
    }
    dots
}

/// Adds a group's part.
#[inline(always)]
fn extend<V: Vector, const ROWS: usize>(
    chains: &mut [V::Floats; ROWS],
    dots: &[V::Dots; ROWS],
    of: &[OfBlock; ROWS],
    panel: &Panel,
    (index, group): (usize, usize),
    at: usize,
) {
    let d = scale::<V>(panel, index, group, at);
    for ((chain, dots), of) in chains.iter_mut().zip(dots).zip(of) {
        *chain = V::mul_add(V::to_floats(*dots), V::mul(d, V::splat(of.scale)), *chain);
    }
    if panel.form.has_least {
        let m = least::<V>(panel, index, group, at);
        for (chain, of) in chains.iter_mut().zip(of) {
            *chain = V::mul_add(m, V::splat(of.sums[group & 1]), *chain);
        }
    }
}

/// d of a group of the rows from `at`.
#[inline(always)]
fn scale<V: Vector>(panel: &Panel, index: usize, group: usize, at: usize) -> V::Floats {
    let small = panel.small(index);
    let whole = match panel.form.scales {
        Scales::Halves => return V::from_halves(&small[2 * at..]),
        Scales::Bytes => V::from_bytes(&small[group * LANES + at..]),
        Scales::Nibbles => V::from_low_nibbles(&small[group * LANES + at..]),
    };
    V::mul(V::from_halves(&panel.large(index)[2 * at..]), whole)
}

/// m of a group of the rows from `at`.
#[inline(always)]
fn least<V: Vector>(panel: &Panel, index: usize, group: usize, at: usize) -> V::Floats {
    let small = panel.small(index);
    let whole = match panel.form.scales {
        Scales::Halves => return V::from_halves(&small[2 * (LANES + at)..]),
        Scales::Bytes => V::from_bytes(&small[(panel.groups + group) * LANES + at..]),
        Scales::Nibbles => V::from_high_nibbles(&small[group * LANES + at..]),
    };
    V::mul(V::from_halves(&panel.large(index)[2 * (LANES + at)..]), whole)
}

#[inline(always)]
pub(super) fn unpack<V: Vector>(panel: &Panel, bytes: &mut [u8]) {
    match (panel.bits, panel.table) {
        (Bits::Two, _) => unpack_bits::<V, 2, false>(panel, bytes),
        (Bits::Three, _) => unpack_bits::<V, 3, false>(panel, bytes),
        (Bits::Four, None) => unpack_bits::<V, 4, false>(panel, bytes),
        (Bits::Four, Some(_)) => unpack_bits::<V, 4, true>(panel, bytes),
        (Bits::Five, _) => unpack_bits::<V, 5, false>(panel, bytes),
        (Bits::Six, _) => unpack_bits::<V, 6, false>(panel, bytes),
        (Bits::Eight, _) => unpack_bits::<V, 8, false>(panel, bytes),
    }
}

#[inline(always)]
fn unpack_bits<V: Vector, const BITS: usize, const TABLE: bool>(panel: &Panel, bytes: &mut [u8]) {
    for (index, lines) in bytes.as_chunks_mut::<{ WORDS * LINE }>().0.iter_mut().enumerate() {
        for at in (0..LANES).step_by(V::LANES) {
            let block = &panel.codes(index)[4 * at..BITS * LINE];
            macro_rules! lay {
                ($($word:literal)*) => {$(
                    V::store(word::<V, BITS, TABLE, $word>(block, &panel.table), &mut lines[$word * LINE + 4 * at..]);
                )*};
            }
            lay!(0 1 2 3 4 5 6 7);
        }
    }
}

/// Word WORD of the codes of a block, after the table if there is one.
#[inline(always)]
fn word<V: Vector, const BITS: usize, const TABLE: bool, const WORD: usize>(
    block: &[u8],
    table: &Option<[u8; 16]>,
) -> V::Codes {
    let codes = match *const { planes(BITS) } {
        [plane] => in_plane::<V, WORD>(block, plane),
        [lower, upper] => V::or(in_plane::<V, WORD>(block, lower), in_plane::<V, WORD>(block, upper)),
        _ => unreachable!("codes are one plane or two"),
    };
    match table {
        Some(table) if TABLE => V::look_up(codes, table),
        _ => codes,
    }
}

#[inline(always)]
fn in_plane<V: Vector, const WORD: usize>(block: &[u8], plane: Plane) -> V::Codes {
    let (line, place) = (plane.line + WORD / plane.words(), plane.width * (WORD % plane.words()));
    let mask = (plane.mask() as u8) << plane.shift;
    V::moved(V::load(&block[line * LINE..]), plane.shift as i32 - place as i32, mask)
}
