//! `moorline-workload`: see the library.
//!
//! The allocator is that of the C library, not mimalloc as in `moorline`. What mimalloc is there for, the server's 33 KB packets of SSH, does not come
//! here: one camera's media is some hundred allocations a second. What it costs here is memory: it reserves an arena of 1 GiB, commits it at once and lets the
//! kernel back it by huge pages, of which the first touch makes 2 MiB resident; it keeps pages for each size of object and each thread. musl's allocator maps
//! groups of a few pages, one set for all threads, maps what is larger than 128 KiB (a key frame, a fragment) by itself, and gives
//! both back as soon as they are free. Its one lock has one thread and now and then one that writes to the spool.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline_workload::main()
}
