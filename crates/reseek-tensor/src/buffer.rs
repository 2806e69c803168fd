//! Memory of activations and gradients, taken and given back without the allocator.
//!
//! A step takes the same sizes again and again. What a buffer gives back waits on its thread for the next one of its size, as it is: the
//! next op writes all of it, so clearing it first would be one pass over memory in vain. Once the sizes of a step are known, no step
//! allocates ([`allocated`] does not move).

use std::cell::{Cell, RefCell};
use std::ops::Range;

use crate::memory::zeros;

/// Values that an op is about to write, returned to the thread's store when dropped. Ops look into it, and whoever asks for [`Buffer::host`]:
///
/// ```compile_fail
/// let buffer = reseek_tensor::buffer::Buffer::zeros(4);
/// assert_eq!(buffer[0], 0.0);
/// ```
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// `len` values, whatever an earlier buffer left in them: for results that an op sets.
    pub fn uncleared(len: usize) -> Self {
        let class = class_of(len);
        let kept = STORE.try_with(|store| store.borrow_mut().get_mut(class).and_then(Vec::pop)).ok().flatten();
        let mut values = kept.unwrap_or_else(|| {
            ALLOCATED.set(ALLOCATED.get() + 4 * capacity_of(class) as u64);
            zeros(capacity_of(class))
        });
        if POISON.get() {
            values.fill(f32::NAN);
        }
        Self { values, len }
    }

    /// `len` zeros: for results that an op adds to.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::uncleared(len);
        buffer.host_mut().fill(0.0);
        buffer
    }

    /// A copy of `values`.
    pub fn of(values: &[f32]) -> Self {
        let mut buffer = Self::uncleared(values.len());
        buffer.host_mut().copy_from_slice(values);
        buffer
    }

    /// A copy of `parts`, one behind the other.
    pub fn joined<const N: usize>(parts: [View; N]) -> Self {
        let mut buffer = Self::uncleared(parts.iter().map(|part| part.0.len()).sum());
        let mut rest = buffer.host_mut();
        for View(part) in parts {
            let (to, behind) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = behind;
        }
        buffer
    }

    /// Values in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Some of its rows of `width` values.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn rows(&self, rows: Range<usize>, width: usize) -> View<'_> {
        View(&self.host()[rows.start * width..rows.end * width])
    }

    /// [`Buffer::rows`] to write to.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn rows_mut(&mut self, rows: Range<usize>, width: usize) -> ViewMut<'_> {
        ViewMut(&mut self.host_mut()[rows.start * width..rows.end * width])
    }

    /// The values where the host can read them: for samplers, for what leaves the model, and for tests.
    pub fn host(&self) -> &[f32] {
        &self.values[..self.len]
    }

    /// [`Buffer::host`] to write to.
    pub fn host_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::of(self.host())
    }
}

/// Values for an op to read, all of a buffer or some of its rows. Only ops look into it; whoever has a slice in the host's memory can give
/// it to them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(pub(crate) &'a [f32]);

/// Values for an op to write or to add to.
#[derive(Debug)]
pub struct ViewMut<'a>(pub(crate) &'a mut [f32]);

impl<'a> From<&'a Buffer> for View<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self(buffer.host())
    }
}

impl<'a> From<&'a mut Buffer> for ViewMut<'a> {
    fn from(buffer: &'a mut Buffer) -> Self {
        Self(buffer.host_mut())
    }
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for View<'a> {
    fn from(values: &'a T) -> Self {
        Self(values.as_ref())
    }
}

impl<'a, T: AsMut<[f32]> + ?Sized> From<&'a mut T> for ViewMut<'a> {
    fn from(values: &'a mut T) -> Self {
        Self(values.as_mut())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // A thread that is ending has no store any more.
        let _ = STORE.try_with(|store| {
            let mut store = store.borrow_mut();
            let class = class_of(self.len);
            if store.len() <= class {
                store.resize_with(class + 1, Vec::new);
            }
            store[class].push(values);
        });
    }
}

/// Bytes that this thread's buffers have taken from the allocator so far.
pub fn allocated() -> u64 {
    ALLOCATED.get()
}

/// Runs `f` with every new buffer of this thread full of NaN: a test's way to see that results depend on no earlier values.
pub fn with_poison<R>(f: impl FnOnce() -> R) -> R {
    let before = POISON.replace(true);
    let result = f();
    POISON.set(before);
    result
}

/// Steps between two powers of two: the share of a buffer that is beyond its length is at most a quarter.
const STEPS: usize = 4;
/// Values of class 0.
const SMALLEST: usize = 16;

/// The number of the smallest class with room for `len` values.
fn class_of(len: usize) -> usize {
    if len <= SMALLEST {
        return 0;
    }
    // len − 1 lies in [base, 2·base), in one of STEPS equal parts.
    let octave = ((len - 1) / SMALLEST).ilog2() as usize;
    let base = SMALLEST << octave;
    octave * STEPS + ((len - 1) - base) / (base / STEPS) + 1
}

fn capacity_of(class: usize) -> usize {
    if class == 0 {
        return SMALLEST;
    }
    let (octave, step) = ((class - 1) / STEPS, (class - 1) % STEPS);
    let base = SMALLEST << octave;
    base + (step + 1) * (base / STEPS)
}

thread_local! {
    /// What waits, by class.
    static STORE: RefCell<Vec<Vec<Vec<f32>>>> = const { RefCell::new(Vec::new()) };
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static POISON: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_room_and_waste_little() {
        for len in (0..5000).chain([1 << 20, (1 << 20) + 1, 3_000_001]) {
            let class = class_of(len);
            let capacity = capacity_of(class);
            assert!(capacity >= len, "{len} values in {capacity}");
            assert!(class == 0 || capacity_of(class - 1) < len, "{len} values would fit in class {}", class - 1);
            assert!(len <= SMALLEST || capacity <= len + len / STEPS + 1, "{len} values in {capacity}");
        }
    }

    #[test]
    fn memory_comes_back_as_it_was() {
        let mut first = Buffer::of(&[1.0; 100]);
        first.host_mut()[99] = 7.0;
        let place = first.host().as_ptr();
        drop(first);
        let second = Buffer::uncleared(97);
        assert_eq!((second.host().as_ptr(), second.len(), second.host()[96]), (place, 97, 1.0));
        assert_eq!(Buffer::zeros(97).host(), [0.0; 97], "another one, for the first is in use");
        assert!(with_poison(|| Buffer::uncleared(50)).host().iter().all(|x| x.is_nan()));
        assert_eq!(second.clone().host(), second.host());
    }

    #[test]
    fn rows_are_what_lies_there() {
        let mut buffer = Buffer::joined([View(&[1.0, 2.0]), View(&[]), View(&[3.0, 4.0, 5.0, 6.0])]);
        assert_eq!(buffer.host(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((buffer.rows(1..3, 2).0, buffer.rows(1..1, 2).0), (&[3.0, 4.0, 5.0, 6.0][..], &[][..]));
        buffer.rows_mut(2..3, 2).0.fill(0.0);
        assert_eq!(buffer.host(), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
    }
}
