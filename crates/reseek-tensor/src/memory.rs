//! How the process holds on to memory.

/// Tells glibc's allocator to keep what is freed, and to build the one heap of all threads from huge pages.
///
/// A training step frees and takes the same buffers again and again; given back to the system they come back as fresh pages, which the
/// system clears one fault at a time: a fifth of a step. Decoding passes over all weights for a few rows and waits for the translation of
/// small pages: between nothing and a fifth of a token, by what else the machine does. A heap of its own, which every other thread would
/// get, has small pages: a step of training took 5 % longer with it. Buffers wait on their threads, so few calls meet at the heap's lock.
/// On other systems this does nothing.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::prepare();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    const MIB: libc::c_int = 1 << 20;
    /// Address space that the heap takes at once; memory follows only where it is used.
    const HEAP: libc::c_int = 1024 * MIB;
    const HUGE_PAGE: usize = 2 << 20;

    pub(super) fn prepare() {
        // SAFETY: sets numbers of the allocator; a refusal changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * MIB);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_ARENA_MAX, 1);
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
