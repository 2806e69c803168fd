//! How the process holds on to memory.

/// Tells glibc's allocator to keep what is freed. A training step frees and takes the same buffers again and again; given back to
/// the system they come back as fresh pages, which the system clears one fault at a time: a fifth of a step. Elsewhere does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MIB: libc::c_int = 1 << 20;
        // SAFETY: sets numbers of the allocator; a refusal changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * MIB);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 * MIB);
        }
    }
}
