//! A bound on the memory of what somebody else wrote. A chat template doubles a text with every `x ~ x`, forty times in as many short lines;
//! its interpreter counts steps and not bytes, and has nothing to hang a limit on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

#[global_allocator]
static ALLOCATOR: Bounding = Bounding;

/// The system's allocator, which counts what a thread takes while it is in [`bounded`].
struct Bounding;

/// Outside of [`bounded`].
const UNBOUNDED: isize = isize::MAX;

thread_local! {
    /// Bytes that this thread may still take.
    static LEFT: Cell<isize> = const { Cell::new(UNBOUNDED) };
    /// What to say when it takes more.
    static BEYOND: Cell<&'static str> = const { Cell::new("") };
}

/// Does `work`, in which this thread may take so many bytes at a time. More ends the program with what `beyond` says and exit code 2, for an
/// allocation can neither fail nor unwind.
pub fn bounded<T>(bytes: usize, beyond: &'static str, work: impl FnOnce() -> T) -> T {
    BEYOND.set(beyond);
    let _bound = Bound(LEFT.replace(bytes as isize));
    work()
}

/// Gives back what held before, also where the work panics.
struct Bound(isize);

impl Drop for Bound {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

fn take(bytes: usize) {
    let left = LEFT.get();
    if left == UNBOUNDED {
        return;
    }
    let left = left.saturating_sub_unsigned(bytes);
    LEFT.set(left);
    if left < 0 {
        LEFT.set(UNBOUNDED);
        // Nobody is left to tell that it could not be said.
        let _ = writeln!(std::io::stderr(), "error: {}", BEYOND.get());
        std::process::exit(2);
    }
}

/// What was taken before the bound may be given back in it; that does not widen it much, and [`UNBOUNDED`] is never reached.
fn give_back(bytes: usize) {
    let left = LEFT.get();
    if left != UNBOUNDED {
        LEFT.set(left.saturating_add_unsigned(bytes).min(UNBOUNDED - 1));
    }
}

// SAFETY: the system's allocator does the work; what is done beside it takes no memory of its own.
unsafe impl GlobalAlloc for Bounding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise, here and below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        give_back(layout.size());
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        give_back(layout.size());
        unsafe { System.realloc(place, layout, size) }
    }
}
