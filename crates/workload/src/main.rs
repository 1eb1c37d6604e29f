//! `moorline-workload`: see the library.
//!
//! The allocator is that of the C library, not mimalloc as in `moorline`. What mimalloc is there for, the server's 33 KB packets of SSH, does not come
//! here: the media of one camera are some hundred allocations a second. What it costs here is memory. It keeps pages of their own for each size and
//! each thread, of 512 KiB for what has 10 to 64 KiB and of 4 MiB for what has up to 512 KiB: reads, the relay's chunks, key frames and fragments are of all
//! these sizes. Its arena of 1 GiB is one that the kernel may back by huge pages, of which the first touch makes 2 MiB resident. musl's allocator maps what is
//! larger than 128 KiB by itself and gives it back as soon as it is free; what is smaller lies in groups of a few pages, one set for all threads. Its one
//! lock is asked for by one thread, and now and then by one that writes to the spool.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline_workload::main()
}
