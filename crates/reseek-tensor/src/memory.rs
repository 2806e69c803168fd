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
    let values = vec![0.0; values];
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::advise_heap_of(values.as_ptr() as usize);
    values
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::cell::RefCell;
    use std::ops::Range;
    use std::sync::atomic::{AtomicBool, Ordering};

    const MIB: usize = 1 << 20;
    /// Address space that the heap takes at once; memory follows only where it is used.
    const HEAP: usize = 1024 * MIB;
    const HUGE_PAGE: usize = 2 * MIB;
    /// Size and alignment of the heap of a thread.
    const THREAD_HEAP: usize = 64 * MIB;

    /// Whether the allocator keeps what it is given back: without that, advice would be lost at once.
    static IS_PREPARED: AtomicBool = AtomicBool::new(false);

    thread_local! {
        /// Heaps that this thread has looked at. Nothing else of it is as large, so there are few.
        static SEEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    /// Asks for huge pages in the thread's heap that `address`, just allocated, lies in: in the whole of it, for what else the thread
    /// computes with lies there too, and nowhere else.
    pub(super) fn advise_heap_of(address: usize) {
        let start = address / THREAD_HEAP * THREAD_HEAP;
        let is_seen = |seen: &mut Vec<usize>| seen.contains(&start) || (seen.push(start), false).1;
        // A thread that is ending has no list any more.
        if !IS_PREPARED.load(Ordering::Relaxed) || SEEN.try_with(|seen| is_seen(&mut seen.borrow_mut())).unwrap_or(true)
        {
            return;
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        if let Some(mapping) = anonymous_mapping_of(address, &maps) {
            // SAFETY: what the kernel has mapped as one piece with the block, between the bounds of a heap, is the allocator's.
            unsafe { advise(mapping.start.max(start), mapping.end.min(start + THREAD_HEAP)) };
        }
    }

    /// The mapping in which `address` lies, by the text of /proc/self/maps, if it can be written, is private and has neither file nor name;
    /// and the one behind it, if that waits to become a part of it: a heap reserves what it grows into.
    fn anonymous_mapping_of(address: usize, maps: &str) -> Option<Range<usize>> {
        let mut mappings = maps.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[range, access, _, _, "0"] = &words[..] else { return None };
            let (from, to) = range.split_once('-')?;
            Some((usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?, access))
        });
        let own = |mapping: &Option<(Range<usize>, &str)>| {
            mapping.as_ref().is_some_and(|(range, access)| *access == "rw-p" && range.contains(&address))
        };
        let (range, _) = mappings.find(own)??;
        match mappings.next() {
            Some(Some((reserved, "---p"))) if reserved.start == range.end => Some(range.start..reserved.end),
            _ => Some(range),
        }
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
        fn the_mapping_of_an_address_is_found_and_files_stacks_and_named_ones_are_not() {
            let maps = "559d00000000-559d00021000 rw-p 00000000 00:00 0                          [heap]\n\
                        7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \n\
                        7f0004000000-7f0008000000 ---p 00000000 00:00 0 \n\
                        7f0010000000-7f0010001000 rw-p 00000000 fe:01 77                         /lib/libc.so.6\n\
                        garbage\n";
            assert_eq!(anonymous_mapping_of(0x7f00_0000_0010, maps), Some(0x7f00_0000_0000..0x7f00_0800_0000));
            for other in [0x559d_0000_0010, 0x7f00_0400_0000, 0x7f00_1000_0000, 0] {
                assert_eq!(anonymous_mapping_of(other, maps), None);
            }
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
                let buffers: Vec<Vec<f32>> = (0..24).map(|_| super::super::zeros(MIB / 4)).collect();
                let advised = |values: &Vec<f32>| is_advised(values.as_ptr() as usize + MIB / 2);
                let seen: Vec<Option<bool>> = buffers.iter().map(advised).collect();
                if seen.contains(&None) {
                    return;
                }
                let n = seen.iter().filter(|&&advised| advised == Some(true)).count();
                assert_eq!(n, 24, "of 24 MiB in the heap of a thread");
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
