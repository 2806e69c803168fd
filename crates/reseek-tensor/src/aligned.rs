//! Values in whole cache lines: a vector load that straddles two lines costs two.

/// One cache line of values.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line([f32; Line::VALUES]);

impl Line {
    pub(crate) const VALUES: usize = 16;

    /// Lines with room for `values` zeros.
    pub(crate) fn zeros(values: usize) -> Vec<Self> {
        vec![Self([0.0; Self::VALUES]); values.div_ceil(Self::VALUES)]
    }

    /// The same memory as bytes.
    pub(crate) fn bytes(lines: &[Self]) -> &[u8] {
        // SAFETY: a Line is 4·VALUES bytes without padding, and any byte is a u8.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 4 * Self::VALUES) }
    }

    pub(crate) fn bytes_mut(lines: &mut [Self]) -> &mut [u8] {
        // SAFETY: as in `bytes`, and any bytes are f32; the exclusive borrow passes over to the result.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 4 * Self::VALUES) }
    }

    pub(crate) fn flatten(lines: &[Self]) -> &[f32] {
        // SAFETY: a Line is VALUES f32 without padding, so n lines are n·VALUES values.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * Self::VALUES) }
    }

    pub(crate) fn flatten_mut(lines: &mut [Self]) -> &mut [f32] {
        // SAFETY: as in `flatten`; the exclusive borrow passes over to the result.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * Self::VALUES) }
    }
}
