//! Memory that is no longer needed goes back to the system: what glibc leaves to the program. Other C libraries do it by
//! themselves.

use std::time::Duration;

/// Pause between two looks at how much memory the server holds.
const INTERVAL: Duration = Duration::from_secs(10);

/// The longest pause, to which it doubles while there is nothing to give back.
const INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Bytes by which it has to have grown for a look at what of it is free.
const WORTHWHILE_BYTES: u64 = 16 << 20;

/// Gives every larger block of memory back as soon as it is freed.
///
/// Left alone, glibc does so only with the first: each block that it gives back raises the size from which it does, up
/// to 32 MiB (`M_MMAP_THRESHOLD` in mallopt(3)), and smaller ones stay in the heap of the thread that asked for them. A
/// few threads that have each read and encoded megabytes of output would keep hundreds of MiB for good.
pub(crate) fn give_back_when_freed() {
    const LARGER_BYTES: libc::c_int = 256 * 1024;
    #[expect(unsafe_code, reason = "the allocator's settings are the C library's")]
    // SAFETY: it takes two numbers, and there is no other thread yet that it could get in the way of.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGER_BYTES) } == 1;
    debug_assert!(is_set, "refused only above 32 MiB");
}

/// Gives back what small blocks took, once there were many: what a thousand connections leave is between blocks that
/// live on, where glibc does not look by itself. Returns only where there is no `/proc`.
///
/// As long as the server holds more than it once did, that may be in use, or free and worth another look.
pub(crate) async fn give_back_regularly() {
    let Some(mut least) = resident_bytes() else {
        return;
    };
    let mut pause = INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let Some(before) = resident_bytes() else {
            return;
        };
        least = least.min(before);
        if before < least + WORTHWHILE_BYTES {
            pause = INTERVAL;
            continue;
        }
        // It takes the locks of the heap one after the other, and some milliseconds for hundreds of MiB.
        let giving_back = tokio::task::spawn_blocking(give_back_free);
        let given_back = giving_back.await.ok().and_then(|()| resident_bytes());
        let after = given_back.unwrap_or(before);
        least = least.min(after);
        pause = if before - after.min(before) >= WORTHWHILE_BYTES {
            INTERVAL
        } else {
            (pause * 2).min(INTERVAL_MAX)
        };
    }
}

/// Bytes of memory that this process holds; `None` where `/proc` cannot be read.
fn resident_bytes() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn give_back_free() {
    #[expect(unsafe_code, reason = "the heap is the C library's")]
    // SAFETY: it takes a number, locks what it looks at, and touches nothing but what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
