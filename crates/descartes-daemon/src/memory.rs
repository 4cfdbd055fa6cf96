//! Memory that is no longer needed goes back to the system.

/// Gives every larger block of memory back as soon as it is freed.
///
/// Left alone, glibc does so only with the first: each block that it gives back raises the size from which it does, up
/// to 32 MiB (`M_MMAP_THRESHOLD` in mallopt(3)), and smaller ones stay in the heap of the thread that asked for them. A
/// few threads that have each read and encoded megabytes of output would keep hundreds of MiB for good.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back_when_freed() {
    const LARGER_BYTES: libc::c_int = 256 * 1024;
    #[expect(unsafe_code, reason = "the allocator's settings are the C library's")]
    // SAFETY: it takes two numbers, and there is no other thread yet that it could get in the way of.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGER_BYTES) } == 1;
    debug_assert!(is_set, "refused only above 32 MiB");
}

/// Other C libraries do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back_when_freed() {}
