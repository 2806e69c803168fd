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

/// The same for the heap that `values`, just allocated, lie in: every thread but the first has heaps of its own. With small pages a step of
/// training took 3 to 5 % longer.
pub(crate) fn advise_heap_of(values: &[f32]) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::advise_heap_of(values.as_ptr() as usize);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = values;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    const MIB: libc::c_int = 1 << 20;
    /// Address space that the heap takes at once; memory follows only where it is used.
    const HEAP: libc::c_int = 1024 * MIB;
    const HUGE_PAGE: usize = 2 << 20;
    /// Size and alignment of the heap of a thread.
    const THREAD_HEAP: usize = 64 << 20;

    pub(super) fn advise_heap_of(address: usize) {
        let start = address / THREAD_HEAP * THREAD_HEAP;
        // SAFETY: advice about mapped pages, whosever they are, changes no value in them; where none are mapped it is refused.
        unsafe { libc::madvise(start as *mut libc::c_void, THREAD_HEAP, libc::MADV_HUGEPAGE) };
    }

    pub(super) fn prepare() {
        // SAFETY: sets numbers of the allocator; a refusal changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * MIB);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, HEAP);
        }
        // SAFETY: takes and gives back a block that makes the heap grow; the advice is about whole pages between it and the heap's
        // end, changes no value in them, and may be refused.
        unsafe {
            let block = libc::malloc(MIB as usize);
            let end = libc::sbrk(0) as usize;
            let first = (block as usize).next_multiple_of(HUGE_PAGE);
            if !block.is_null() && first < end && end - first <= 2 * HEAP as usize {
                libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE);
            }
            libc::free(block);
            libc::mallopt(libc::M_TOP_PAD, 64 * MIB);
        }
    }
}
