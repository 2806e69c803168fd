//! How the process holds on to memory.

/// Tells glibc's allocator to keep what is freed, and to build its heap from huge pages.
///
/// A training step frees and takes the same buffers again and again; given back to the system they come back as fresh pages, which the
/// system clears one fault at a time: a fifth of a step. Decoding passes over all weights for a few rows and waits for the translation of
/// small pages: between nothing and a fifth of a token, by what else the machine does. On other systems this does nothing.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::prepare();
}

/// `values` zeros for a buffer, after [`prepare`] in huge pages on every thread: all but the first have heaps of their own. With small pages
/// a step of training took 3 to 5 % longer.
pub(crate) fn zeros(values: usize) -> Vec<f32> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::make_room(4 * values);
    vec![0.0; values]
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    const MIB: usize = 1 << 20;
    /// Address space that the heap takes at once; memory follows only where it is used.
    const HEAP: usize = 1024 * MIB;
    const HUGE_PAGE: usize = 2 * MIB;
    /// What a thread makes room for at once: nearly all of a heap, which grows to 64 MiB and is then followed by another. Less left parts of
    /// it to small pages, at 3 % of a step.
    const ROOM: usize = 60 * MIB;

    /// Whether the allocator keeps what it is given back: without that, advice would be lost at once.
    static IS_PREPARED: AtomicBool = AtomicBool::new(false);

    thread_local! {
        /// Bytes of the last room that later buffers may still take.
        static LEFT: Cell<usize> = const { Cell::new(0) };
    }

    /// Takes a block for this thread's next buffers, asks for huge pages while it is ours alone, and gives it back to the heap, which
    /// cuts buffers from it: advice stays with pages. Where other allocations take of it, a part of the buffers lies elsewhere.
    pub(super) fn make_room(bytes: usize) {
        if !IS_PREPARED.load(Ordering::Relaxed) {
            return;
        }
        if LEFT.get() < bytes {
            let size = ROOM.max(bytes);
            // SAFETY: the block is as large as asked for or null, and is given back once.
            unsafe {
                let block = libc::malloc(size);
                if !block.is_null() {
                    advise(block as usize, block as usize + size);
                }
                libc::free(block);
            }
            LEFT.set(size);
        }
        LEFT.set(LEFT.get() - bytes);
    }

    /// Asks for huge pages in `start..end`, as far as whole ones lie inside.
    ///
    /// # Safety
    /// The addresses belong to the caller.
    unsafe fn advise(start: usize, end: usize) {
        let (first, end) = (start.next_multiple_of(HUGE_PAGE), end / HUGE_PAGE * HUGE_PAGE);
        if first < end {
            // SAFETY: the caller's memory; advice changes no value in it, and may be refused.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }

    pub(super) fn prepare() {
        // SAFETY: sets numbers of the allocator; a refusal changes nothing.
        let is_accepted = unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP as libc::c_int) != 0
                && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) != 0
                && libc::mallopt(libc::M_TOP_PAD, HEAP as libc::c_int) != 0
        };
        if !is_accepted {
            return;
        }
        // SAFETY: takes and gives back a block that makes the heap grow; what lies between it and the heap's end was taken from the
        // system for this heap just now.
        unsafe {
            let block = libc::malloc(MIB);
            let end = libc::sbrk(0) as usize;
            if !block.is_null() && (block as usize) < end && end - block as usize <= 2 * HEAP {
                advise(block as usize, end);
            }
            libc::free(block);
            libc::mallopt(libc::M_TOP_PAD, 64 * MIB as libc::c_int);
        }
        IS_PREPARED.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Whether the kernel was asked for huge pages where `address` lies; nothing where it does not say.
        fn is_advised(address: usize) -> Option<bool> {
            let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
            let mut inside = false;
            for line in maps.lines() {
                let range = line.split(' ').next().and_then(|range| range.split_once('-'));
                if let Some((start, end)) = range {
                    let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap_or(0));
                    inside = (start..end).contains(&address);
                } else if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                    return Some(flags.split(' ').any(|flag| flag == "hg"));
                }
            }
            None
        }

        #[test]
        fn buffers_of_every_thread_lie_in_advised_pages_and_nothing_else_does() {
            prepare();
            // A kernel without huge pages, or another allocator, as a sanitizer's.
            if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists()
                || !IS_PREPARED.load(Ordering::Relaxed)
            {
                return;
            }
            std::thread::spawn(|| {
                // The first buffers may lie in front of the first whole huge page.
                let buffers: Vec<Vec<f32>> = (0..24).map(|_| super::super::zeros(MIB / 4)).collect();
                let advised = |values: &Vec<f32>| is_advised(values.as_ptr() as usize + MIB / 2);
                let seen: Vec<Option<bool>> = buffers.iter().map(advised).collect();
                if seen.contains(&None) {
                    return;
                }
                let n = seen.iter().filter(|&&advised| advised == Some(true)).count();
                assert!(n >= 12, "{n} of 24 MiB are advised");
                let on_the_stack = 0_u8;
                assert_eq!(
                    is_advised(&raw const on_the_stack as usize),
                    Some(false),
                    "the stack is not ours to advise"
                );
            })
            .join()
            .expect("the thread ends");
        }
    }
}
