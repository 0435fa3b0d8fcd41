//! Has the C library give memory back that nobody uses.
//!
//! glibc keeps what was freed for whoever allocates next, and gives back only what lies at the very end of a
//! heap; one small piece that lives on holds everything in front of it.

/// Gives whole pages that hold nothing back to the system, wherever they lie. Takes milliseconds for a heap of
/// some 100 MiB, in which other threads may wait for memory.
#[cfg(target_env = "gnu")]
pub fn trim() {
    // SAFETY: glibc's manual calls `malloc_trim` MT-safe; it takes a number and touches no memory that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// musl gives back what is freed as it goes.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
