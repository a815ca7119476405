//! How many datagrams a socket has lost because it had no room for them (socket(7), `SO_MEMINFO`).

use std::os::fd::BorrowedFd;

/// Other systems do not say.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn overflowed(_: BorrowedFd<'_>) -> u64 {
    0
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[expect(unsafe_code, reason = "SO_MEMINFO, which no safe crate offers")]
pub(super) fn overflowed(socket: BorrowedFd<'_>) -> u64 {
    use std::os::fd::AsRawFd;

    /// Where the number stands among what the kernel tells (linux/sock_diag.h,
    /// `SK_MEMINFO_DROPS`).
    const DROPS: usize = 8;

    let mut told = [0_u32; DROPS + 1];
    let mut len = size_of_val(&told) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` bytes to `told`, which outlives the call; any
    // bytes are numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            told.as_mut_ptr().cast(),
            &mut len,
        )
    };
    match result {
        0 => u64::from(told[DROPS]),
        _ => 0,
    }
}
