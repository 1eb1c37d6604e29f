//! What has the right type and still cannot work: each field's bounds, and fields that belong together.

use moorline_base::config::{ByteSize, Complaint, ConfigErrors, HumanDuration};
use moorline_base::logging::{self, LogError};

use super::{Server, Settings, StoreKind, Uplink};
use crate::serve::place;

/// Whether settings that were not read as they are can work together.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn checked(settings: &Settings) -> Result<(), ConfigErrors> {
    let mut errors = ConfigErrors::new();
    check(settings, &mut errors);
    errors.or(())
}

/// What has the right type and still cannot work.
pub(super) fn check(settings: &Settings, errors: &mut ConfigErrors) {
    let archive = &settings.archive;
    if !(2..=300).contains(&archive.segment.get().as_secs()) {
        errors.add(
            "archive.segment",
            archive.segment,
            Complaint::new(
                "a segment lasts 2s to 300s",
                "write 2s to 300s; 60s is right for most",
            ),
        );
    }
    if archive.keep_days > 999 {
        errors.add(
            "archive.keep_days",
            archive.keep_days,
            Complaint::new("at most 999", "write 1 to 999, or 0 to keep everything"),
        );
    }
    if !(1..=100).contains(&archive.disk_percent) {
        errors.add(
            "archive.disk_percent",
            archive.disk_percent,
            Complaint::new("not a percentage", "write 1 to 100"),
        );
    }
    // Recordings become durable segment by segment, and the first of a take is up to a third longer: a shorter time would alarm while all
    // is well, and never give the all-clear.
    let two = (archive.segment.get() * 2).as_millis();
    let least = HumanDuration::from_millis(u64::try_from(two).unwrap_or(u64::MAX));
    let after = settings.alert.after;
    if after < least {
        let hint = format!(
            "write {least} or more, or make archive.segment shorter (it is {})",
            archive.segment
        );
        let why = Complaint::new("shorter than two segments", hint);
        errors.add("alert.after", after, why);
    }
    let window = settings.tunnel.window;
    if !(ByteSize::new(256 << 10)..=ByteSize::mib(4)).contains(&window) {
        errors.add(
            "tunnel.window",
            window,
            Complaint::new(
                "out of range",
                "write 256KiB to 4MiB; 1MiB is right for most",
            ),
        );
    }
    // Two sessions that are full: what one camera holds must never be what closes another's stream.
    let least = ByteSize::mib(16);
    for (field, value) in [
        ("tunnel.queued", settings.tunnel.queued),
        (
            "tunnel.queued_per_tenant",
            settings.tunnel.queued_per_tenant,
        ),
    ] {
        if value < least {
            let why = Complaint::new("too little for two cameras", "write 16MiB or more");
            errors.add(field, value, why);
        }
    }
    check_uplink(&settings.uplink, errors);
    let streams = settings.rtsp.streams_per_user;
    if !(1..=4096).contains(&streams) {
        errors.add(
            "rtsp.streams_per_user",
            streams,
            Complaint::new("out of range", "write 1 to 4096; 64 is right for most"),
        );
    }
    for network in &settings.cluster.store_private {
        if moorline_core::network::Network::around(network).is_err() {
            errors.add(
                "cluster.store_private",
                format!("{network:?}"),
                Complaint::new("no network", "write it like 10.0.0.0/8"),
            );
        }
    }
    if !settings.cluster.dns.is_empty()
        && serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(
            &settings.cluster.dns,
        )
        .is_err()
    {
        errors.add(
            "cluster.dns",
            format!("{:?}", settings.cluster.dns),
            Complaint::new(
                "no JSON array of egress rules",
                "write it like [{\"to\": [{\"ipBlock\": {\"cidr\": \"169.254.20.10/32\"}}]}]",
            ),
        );
    }
    let pace = settings.cluster.sweep_pace;
    if !(1..=1000).contains(&pace) {
        errors.add(
            "cluster.sweep_pace",
            pace,
            Complaint::new("out of range", "write 1 to 1000; 100 is right for most"),
        );
    }
    if archive.store == StoreKind::S3 && settings.s3.bucket.is_empty() {
        errors.add(
            "s3.bucket",
            "\"\"",
            Complaint::new(
                "archive.store = \"s3\" needs a bucket",
                "write its name, or archive.store = \"directory\"",
            ),
        );
    }
    let connections = settings.postgres.connections;
    if !(2..=100).contains(&connections) {
        errors.add(
            "postgres.connections",
            connections,
            Complaint::new("out of range", "write 2 to 100; 8 is right for most"),
        );
    }
    let endpoint = &settings.s3.endpoint;
    let is_url = ["https://", "http://"]
        .iter()
        .any(|scheme| endpoint.starts_with(scheme));
    if !endpoint.is_empty() && !is_url {
        errors.add(
            "s3.endpoint",
            format!("{endpoint:?}"),
            Complaint::new("no URL of a store", "write it like https://s3.example.com"),
        );
    }
    check_listen(&settings.server, errors);
    check_certificate(&settings.server, errors);
    check_log(&settings.server, errors);
    if let Err(error) = crate::serve::notifier::check(&settings.alert) {
        errors.add(
            &format!("alert.{}", error.field),
            format!("{:?}", error.value),
            Complaint::new("cannot work", error.expected),
        );
    }
}

/// What the files hold is read by whoever uses them: a role of a cluster that has no door has none of them.
fn check_certificate(server: &Server, errors: &mut ConfigErrors) {
    let (field, value) = match (server.tls_certificate.as_str(), server.tls_key.as_str()) {
        (certificate, "") if !certificate.is_empty() => ("server.tls_certificate", certificate),
        ("", key) if !key.is_empty() => ("server.tls_key", key),
        _ => return,
    };
    errors.add(
        field,
        format!("{value:?}"),
        Complaint::new(
            "server.tls_certificate and server.tls_key belong together",
            "set both, or none for a self-signed certificate",
        ),
    );
}

fn check_log(server: &Server, errors: &mut ConfigErrors) {
    if let Err(error) = logging::check(&server.log) {
        let why = match &error {
            LogError::Filter { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let hint = error.hint().unwrap_or_default();
        let value = format!("{:?}", server.log);
        errors.add("server.log", value, Complaint::new(why, hint));
    }
}

fn check_uplink(uplink: &Uplink, errors: &mut ConfigErrors) {
    if uplink.percent > 99 {
        errors.add(
            "uplink.percent",
            uplink.percent,
            Complaint::new(
                "not a part of all pictures",
                "write 1 to 99, or 0 for never",
            ),
        );
    }
    if !(1..=3_600).contains(&uplink.after.get().as_secs()) {
        errors.add(
            "uplink.after",
            uplink.after,
            Complaint::new("out of range", "write 1s to 1h; 2m is right for most"),
        );
    }
    if uplink.back < uplink.after {
        let hint = format!("write {} or more; 30m is right for most", uplink.after);
        errors.add(
            "uplink.back",
            uplink.back,
            Complaint::new("shorter than uplink.after", hint),
        );
    }
}

fn check_listen(server: &Server, errors: &mut ConfigErrors) {
    for (field, value) in [
        ("server.listen_ssh", &server.listen_ssh),
        ("server.listen_rtsp", &server.listen_rtsp),
        ("server.listen_https", &server.listen_https),
        ("server.listen_admin", &server.listen_admin),
    ] {
        if value.parse::<std::net::SocketAddr>().is_err() {
            errors.add(
                field,
                format!("{value:?}"),
                Complaint::new("no address with a port", "write it like 0.0.0.0:2222"),
            );
        }
    }
    for (field, host) in [
        ("server.public_host", &server.public_host),
        ("server.public_viewer_host", &server.public_viewer_host),
    ] {
        if !host.is_empty() && !place::is_host(host) {
            errors.add(
                field,
                format!("{host:?}"),
                Complaint::new("neither a host name nor an address", place::HOST_EXPECTED),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_host_is_a_name_or_an_address_alone() {
        let told = |host: &str| {
            let mut settings = Settings::default();
            settings.server.public_host = host.to_owned();
            settings.server.public_viewer_host = host.to_owned();
            let mut errors = ConfigErrors::new();
            check(&settings, &mut errors);
            errors
        };
        for host in ["", "box", "cctv.example.com", "192.168.1.5", "2001:db8::1"] {
            assert_eq!(told(host).problems(), [], "{host}");
            assert_eq!(place::host_argument(host), Ok(host.to_owned()));
        }
        for host in [
            "https://cctv.example.com/",
            "cctv.example.com:8443",
            "[2001:db8::1]",
            "anna@cctv.example.com",
        ] {
            let told = told(host).to_string();
            for field in ["public_host", "public_viewer_host"] {
                assert!(told.contains(&format!("server.{field} = ")), "{told}");
            }
            assert!(told.contains("cctv.example.com"), "{told}");
            assert_eq!(place::host_argument(host), Err(place::HOST_EXPECTED));
        }
    }

    #[test]
    fn a_log_filter_that_silences_by_a_slip_is_told() {
        let told = |log: &str| {
            let mut settings = Settings::default();
            settings.server.log = log.to_owned();
            checked(&settings)
        };
        for log in ["warn", "info,moorline_tunnel=debug"] {
            assert_eq!(told(log), Ok(()), "{log}");
        }
        for log in ["inof", "moorline=loud", ""] {
            let told = told(log).unwrap_err().to_string();
            let field = format!("server.log = {log:?}: ");
            assert!(
                told.contains(&field) && told.contains("write a level"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let told = |certificate: &str, key: &str| {
            let mut settings = Settings::default();
            settings.server.tls_certificate = certificate.to_owned();
            settings.server.tls_key = key.to_owned();
            let mut errors = ConfigErrors::new();
            check(&settings, &mut errors);
            errors
        };
        for (certificate, key) in [("", ""), ("a.pem", "b.pem")] {
            assert_eq!(told(certificate, key).problems(), []);
        }
        for (certificate, key, field) in [
            ("a.pem", "", "server.tls_certificate = \"a.pem\""),
            ("", "b.pem", "server.tls_key = \"b.pem\""),
        ] {
            let told = told(certificate, key).to_string();
            assert!(
                told.contains(field) && told.contains("belong together"),
                "{told}"
            );
        }
    }

    #[test]
    fn an_alarm_waits_for_two_segments() {
        let settings = |segment, after| {
            let mut settings = Settings::default();
            settings.archive.segment = HumanDuration::from_secs(segment);
            settings.alert.after = HumanDuration::from_secs(after);
            settings
        };
        let told = |segment, after| {
            let mut errors = ConfigErrors::new();
            check(&settings(segment, after), &mut errors);
            errors
        };
        for (segment, after) in [(60, 180), (60, 120), (90, 180), (2, 4), (300, 600)] {
            assert_eq!(told(segment, after).problems(), []);
        }
        for (segment, after) in [(300, 180), (60, 30), (91, 180)] {
            let told = told(segment, after).to_string();
            assert!(told.contains("alert.after = "), "{told}");
        }
        let told = told(300, 180).to_string();
        let hint = "write 10m or more, or make archive.segment shorter (it is 5m)";
        assert!(told.contains(hint), "{told}");
    }
}
