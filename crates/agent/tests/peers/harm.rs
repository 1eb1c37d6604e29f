//! What a server says that means harm (S6, S7, S8), for the tests on this machine and for those on the emulated camera.

/// Lines that would lead beyond the camera, each with the field for which it is refused. `pins`: the keys of some host; `touched`: a file that is
/// there when a shell has read a host.
pub(crate) fn lines(pins: &str, touched: &str) -> Vec<(String, &'static str)> {
    let mut lines = Vec::new();
    let run = format!("$(touch${{IFS}}{touched})");
    for host in [
        "-oProxyCommand=x",
        "a,b",
        &run,
        "`id`",
        "a;b",
        "a|b",
        "a/b",
        "a@b",
        "a'b",
        "a\\b",
        "a%b",
        "a*",
    ] {
        lines.push((format!("REFER home/yard {host} 22 {pins}"), "REFER.host"));
        let config = format!("CONFIG endpoint.0 home/yard {host} 22 {pins}");
        lines.push((config, "CONFIG.endpoint-host"));
        lines.push((format!("CONFIG source {host}:554"), "CONFIG.source"));
    }
    // 64 bytes, which nobody signed.
    let zeros = format!("{}==", "A".repeat(86));
    for (line, bad) in [
        (
            format!("REFER -oProxyCommand=x 127.0.0.1 22 {pins}"),
            "REFER.user",
        ),
        (format!("REFER Root 127.0.0.1 22 {pins}"), "REFER.user"),
        (format!("REFER home/yard 127.0.0.1 0 {pins}"), "REFER.port"),
        (
            format!("REFER home/yard 127.0.0.1 65536 {pins}"),
            "REFER.port",
        ),
        ("REFER home/yard 127.0.0.1 22 *".to_owned(), "REFER.key"),
        (
            format!("REFER home/yard 127.0.0.1 22 {pins} 604801"),
            "REFER.ttl",
        ),
        // S7: loopback only, and there a port of the owner's list only.
        ("CONFIG source 192.168.1.1:554".to_owned(), "CONFIG.source"),
        ("CONFIG source localhost:554".to_owned(), "CONFIG.source"),
        ("CONFIG source 127.0.0.1:22".to_owned(), "CONFIG.source"),
        ("CONFIG source 0.0.0.0:554".to_owned(), "CONFIG.source"),
        ("CONFIG restart /bin/sh".to_owned(), "CONFIG.key"),
        ("CONFIG login admin:admin".to_owned(), "CONFIG.key"),
        ("CONFIG watchdog /dev/sda".to_owned(), "CONFIG.watchdog"),
        ("CONFIG reboot-after 60".to_owned(), "CONFIG.reboot-after"),
        ("CONFIG queue 2000001".to_owned(), "CONFIG.queue"),
        // S8: whatever else is right or wrong with it.
        (
            format!("UPGRADE mipsel-unknown-linux-musl 99.0.0 1000 {zeros} {zeros}"),
            "UPGRADE.signature",
        ),
    ] {
        lines.push((line, bad));
    }
    lines
}
