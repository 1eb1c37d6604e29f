//! The processors of cameras.

/// A processor for which the agent is built.
#[derive(Debug)]
pub(crate) struct Target {
    /// As people call it: the end of the file's name.
    pub(crate) name: &'static str,
    /// As Rust calls it.
    pub(crate) triple: &'static str,
    /// The prefix of the cross tools.
    pub(crate) tools: &'static str,
    /// What gcc has to be told so that the C library is as small as it can be: see [`super::musl`].
    pub(crate) c_flags: &'static [&'static str],
    /// Further `-C target-feature`s.
    pub(crate) features: &'static str,
    /// Whether it is also that of boxes with room, which stand for cameras of their network (`moorline-agent gateway`).
    pub(crate) gateway: bool,
    /// Further arguments of the linker.
    pub(crate) link: &'static [&'static str],
    /// What runs its programs here.
    pub(crate) emulator: &'static str,
    /// Debian packages of the cross tools.
    pub(crate) packages: &'static [&'static str],
    /// The largest agent, in bytes.
    pub(crate) limit: usize,
}

/// gcc's default, 64 KiB, leaves a hole of half of it in the file. Cameras have pages of 4 KiB; so has every MIPS kernel of Debian. And what is written
/// to need not begin with a page of the file: the kernel maps the last page of the code twice. (What GNU's ld would protect after the start is protected by
/// the loader of a program that moves, which this one has not.)
const SMALL_PAGES: &[&str] = &[
    "-Wl,-z,max-page-size=4096",
    "-Wl,-z,common-page-size=64",
    "-Wl,-z,norelro",
];

/// MIPS alone: without these even code that never moves finds each function and each variable through a table, and sets its register up in each
/// function.
const NO_TABLE: &[&str] = &["-mplt", "-mno-shared"];

/// What `firmware/board/moorline/post-build.sh` also allows.
const LIMIT: usize = 376 * 1024;
/// With the gateway in it.
const LIMIT_OF_A_BOX: usize = 640 * 1024;

/// Ingenic's and most others: the first of all targets, and the emulated camera's.
pub(crate) const MIPSEL: Target = Target {
    name: "mipsel",
    triple: "mipsel-unknown-linux-musl",
    tools: "mipsel-linux-gnu",
    c_flags: NO_TABLE,
    // Rust's default is soft float; boards, and Debian's libc, are o32 hard float.
    features: ",-soft-float",
    gateway: false,
    link: SMALL_PAGES,
    emulator: "qemu-mipsel-static",
    packages: &["gcc-mipsel-linux-gnu"],
    limit: LIMIT,
};

/// All of them.
pub(super) const TARGETS: &[Target] = &[
    MIPSEL,
    Target {
        name: "mips",
        triple: "mips-unknown-linux-musl",
        tools: "mips-linux-gnu",
        c_flags: NO_TABLE,
        features: ",-soft-float",
        gateway: true,
        link: SMALL_PAGES,
        emulator: "qemu-mips-static",
        packages: &["gcc-mips-linux-gnu", "linux-libc-dev-mips-cross"],
        limit: LIMIT_OF_A_BOX,
    },
    Target {
        name: "armv5te",
        triple: "armv5te-unknown-linux-musleabi",
        tools: "arm-linux-gnueabi",
        c_flags: &[],
        features: "",
        gateway: false,
        link: &[],
        emulator: "qemu-arm-static",
        packages: &["gcc-arm-linux-gnueabi"],
        limit: LIMIT,
    },
    Target {
        name: "armv7",
        triple: "armv7-unknown-linux-musleabihf",
        tools: "arm-linux-gnueabihf",
        c_flags: &[],
        features: "",
        gateway: true,
        link: &[],
        emulator: "qemu-arm-static",
        packages: &["gcc-arm-linux-gnueabihf"],
        limit: LIMIT_OF_A_BOX,
    },
    Target {
        name: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        tools: "aarch64-linux-gnu",
        c_flags: &[],
        features: "",
        gateway: true,
        link: &[],
        emulator: "qemu-aarch64-static",
        packages: &["gcc-aarch64-linux-gnu"],
        limit: LIMIT_OF_A_BOX,
    },
];
