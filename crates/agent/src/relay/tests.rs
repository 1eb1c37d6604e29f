//! The relay as a whole: what may be lost of random streams in random orders, and a slow reader on real sockets.

mod drops;
mod sockets;
