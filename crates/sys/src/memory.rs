//! The allocator of the C library.
#![expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]

/// Returns pages that hold nothing any more to the kernel, from the middle of
/// the heap too. The allocator by itself does so only at the heap's end.
pub fn trim() {
    // SAFETY: `malloc_trim` may be called at any time from any thread; it takes
    // the allocator's own locks and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
