use std::io::Write;
use std::net::SocketAddr;

use super::*;
use crate::secret::Secret;

crate::config_choice! {
    /// Which stream is recorded.
    enum Record { Main = "main", Sub = "sub", Off = "off" }
}

crate::config_section! {
    /// Where the server listens.
    struct Listen in "listen" {
        /// Address of the SSH server.
        ssh: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 2222)),
        /// Most connections at once.
        connections: u32 = 100,
        /// Networks that may connect.
        allow: Vec<String> = Vec::new(),
    }
}

crate::config_section! {
    /// What is recorded, and for how long.
    ///
    /// Applies to all cameras.
    struct Archive in "archive" {
        /// Length of a segment.
        segment: HumanDuration = HumanDuration::from_secs(60),
        /// How long recordings are kept.
        retention: Option<HumanDuration> = Some(HumanDuration::from_days(14)),
        /// Free space that always stays.
        keep_free: ByteSize = ByteSize::gib(5),
        /// The stream.
        record: Record = Record::Main,
        /// Whether to record at all.
        enabled: bool = true,
    }
}

crate::config_section! {
    /// Mail.
    struct Smtp in "smtp" {
        /// The password.
        password: Option<Secret<String>> = None,
    }
}

crate::config_root! {
    /// Everything.
    struct Everything {
        listen: Listen,
        archive: Archive,
        smtp: Smtp,
    }
}

fn loaded(text: &str, environment: &[(&str, &str)]) -> Result<Everything, ConfigErrors> {
    let file = ConfigFile::new("moorline.toml", text);
    let environment = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    load(Some(&file), environment)
}

#[track_caller]
fn refused(text: &str, environment: &[(&str, &str)]) -> String {
    loaded(text, environment).unwrap_err().to_string()
}

#[test]
fn nothing_written_means_the_defaults() {
    let settings: Everything = load(None, []).expect("no configuration is needed");
    assert_eq!(settings, Everything::default());
    assert_eq!(
        settings.archive.retention,
        Some(HumanDuration::from_days(14))
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[archive]\nsegment = \"2m\"\nrecord = \"sub\"\nkeep_free = \"1GiB\"\n[listen]\nallow = [\"10.0.0.0/8\"]\n";
    let environment = [
        ("MOORLINE_ARCHIVE__SEGMENT", "90s"),
        ("MOORLINE_ARCHIVE__ENABLED", "false"),
        ("MOORLINE_LISTEN__CONNECTIONS", "7"),
        ("MOORLINE_LISTEN__ALLOW", "10.0.0.0/8, 192.168.0.0/16"),
    ];
    let settings = loaded(text, &environment).expect("valid");
    assert_eq!(settings.archive.segment, HumanDuration::from_secs(90));
    assert_eq!(settings.archive.record, Record::Sub);
    assert_eq!(settings.archive.keep_free, ByteSize::gib(1));
    assert!(!settings.archive.enabled);
    assert_eq!(settings.listen.connections, 7);
    assert_eq!(settings.listen.allow, ["10.0.0.0/8", "192.168.0.0/16"]);
}

#[test]
fn an_unknown_field_is_told_with_its_line_and_the_nearest_name() {
    let text = "[archive]\n# days\nretension = \"14d\"\n";
    assert_eq!(
        refused(text, &[]),
        "moorline.toml:3: unknown field \"retension\" in [archive]\nhint: did you mean \"retention\"?"
    );
    let far = refused("[archive]\nxyz = 1\n", &[]);
    assert!(far.contains("hint: [archive] has "), "{far}");
    assert!(far.contains("retention"), "{far}");
}

#[test]
fn a_field_in_the_wrong_section_is_sent_to_the_right_one() {
    assert_eq!(
        refused("[listen]\nsegment = \"60s\"\n", &[]),
        "moorline.toml:2: unknown field \"segment\" in [listen]\nhint: \"segment\" belongs into [archive]"
    );
    assert_eq!(
        refused("segment = \"60s\"\n", &[]),
        "moorline.toml:1: field \"segment\" stands outside of any section\nhint: \"segment\" belongs into [archive]"
    );
    assert_eq!(
        refused("[archiv]\n", &[]),
        "moorline.toml:1: unknown section [archiv]\nhint: did you mean \"archive\"?"
    );
    let far = refused("[xyz]\n", &[]);
    assert!(far.contains("hint: there are [listen], [archive]"), "{far}");
}

#[test]
fn a_duration_without_a_unit_is_told_as_text_and_as_number() {
    for value in ["\"60\"", "60"] {
        assert_eq!(
            refused(&format!("[archive]\nsegment = {value}\n"), &[]),
            format!(
                "moorline.toml:2: archive.segment = {value}: a duration needs a unit\nhint: write \"60s\""
            )
        );
    }
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = "[listen]\nssh = \"2222\"\nconnections = -1\nallow = \"x\"\n[archive]\nrecord = \"both\"\nenabled = \"yes\"\nkeep_free = 1.5\n";
    let environment = [("MOORLINE_ARCHIVE__RETENSION", "1d")];
    let errors = loaded(text, &environment).unwrap_err();
    let told: Vec<_> = errors
        .problems()
        .iter()
        .map(|problem| problem.to_string().replace('\n', " | "))
        .collect();
    assert_eq!(
        told,
        [
            "moorline.toml:2: listen.ssh = \"2222\": this is no address and port | hint: write for example \"0.0.0.0:8554\"",
            "moorline.toml:3: listen.connections = -1: the number is out of range | hint: write a number from 0 to 4294967295",
            "moorline.toml:4: listen.allow = \"x\": this is a list | hint: write [\"x\"]",
            "moorline.toml:6: archive.record = \"both\": this is none of the known words | hint: write one of \"main\", \"sub\", \"off\"",
            "moorline.toml:7: archive.enabled = \"yes\": this is true or false | hint: write true or false, without quotes",
            "moorline.toml:8: archive.keep_free = 1.5: a size is written as text in quotes | hint: write for example \"2GiB\"",
            "MOORLINE_ARCHIVE__RETENSION: unknown setting in the environment | hint: did you mean \"MOORLINE_ARCHIVE__RETENTION\"?",
        ]
    );
}

#[test]
fn broken_toml_names_the_line() {
    let told = refused("[archive]\nsegment = \n", &[]);
    assert!(told.starts_with("moorline.toml:2: "), "{told}");
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_left_alone() {
    let environment = [
        ("MOORLINE_PORT", "tcp://10.0.0.1:2222"),
        ("MOORLINE_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    assert_eq!(loaded("", &environment), Ok(Everything::default()));
}

#[test]
fn a_secret_comes_from_its_file_and_is_never_shown() {
    let mut file = tempfile::NamedTempFile::new().expect("temp file");
    file.write_all(b"hunter2\n").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let environment = [("MOORLINE_SMTP__PASSWORD_FILE", path)];
    let settings =
        loaded("[smtp]\npassword = \"other\"\n", &environment).expect("environment wins");
    let password = settings.smtp.password.as_ref().expect("set");
    assert_eq!(password.expose(), "hunter2");
    assert!(!format!("{settings:?}{}", effective_toml(&settings)).contains("hunter2"));

    let both = format!("[smtp]\npassword = \"hunter2\"\npassword_file = \"{path}\"\n");
    let told = refused(&both, &[]);
    assert!(
        told.contains("smtp.password = ***: password and password_file are both given"),
        "{told}"
    );
    let number = refused("[smtp]\npassword = [\"hunter2\"]\n", &[]);
    assert!(!number.contains("hunter2"), "{number}");
}

#[test]
fn a_missing_secret_file_is_named() {
    let told = refused("[smtp]\npassword_file = \"/nonexistent/p\"\n", &[]);
    assert!(
        told.starts_with(
            "moorline.toml:2: smtp.password_file = \"/nonexistent/p\": cannot read the secret file /nonexistent/p: "
        ),
        "{told}"
    );
    assert!(told.contains("\nhint: "), "{told}");
}

#[test]
fn the_effective_file_reads_back_as_the_same() {
    let text = "[archive]\nsegment = \"90s\"\n[listen]\nallow = [\"a\\\"b\"]\n";
    let settings = loaded(text, &[]).expect("valid");
    let again = loaded(&effective_toml(&settings), &[]).expect("valid");
    assert_eq!(settings, again);
}

#[test]
fn the_reference_has_every_field_with_type_default_and_meaning() {
    let page = reference_markdown::<Everything>();
    assert!(page.starts_with("## `[listen]`\n\nWhere the server listens.\n\n### `listen.ssh`\n\nAddress of the SSH server.\n\n- type: address and port\n- default: `\"0.0.0.0:2222\"`\n- environment: `MOORLINE_LISTEN__SSH`\n"), "{page}");
    assert!(page.contains("Applies to all cameras."), "{page}");
    assert!(page.contains("- type: `main`, `sub`, `off`\n"), "{page}");
    assert!(page.contains("- default: none\n- environment: `MOORLINE_SMTP__PASSWORD`\n- from a file: `password_file`, `MOORLINE_SMTP__PASSWORD_FILE`\n"), "{page}");
}

/// One wrong field hides no other: the default stands in for it.
#[test]
fn what_is_wrong_beyond_its_type_is_told_beside_the_rest_and_with_its_line() {
    let text = "[archive]\nsegmnt = \"1m\"\nrecord = \"both\"\nsegment = \"2h\"\n";
    let file = ConfigFile::new("moorline.toml", text);
    let errors = load_checked(Some(&file), [], |settings: &Everything, errors| {
        assert_eq!(settings.archive.record, Record::Main);
        let segment = settings.archive.segment;
        errors.add(
            "archive.segment",
            segment,
            Complaint::new("too long", "write \"60s\""),
        );
    });
    let told = errors.unwrap_err().to_string();
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| !line.starts_with("hint"))
        .collect();
    assert!(
        lines[0].starts_with("moorline.toml:2: unknown field"),
        "{told}"
    );
    assert!(
        lines[1].starts_with("moorline.toml:3: archive.record"),
        "{told}"
    );
    assert!(
        lines[2].starts_with("moorline.toml:4: archive.segment = 2h: too long"),
        "{told}"
    );
}

#[test]
fn checks_across_fields_are_told_the_same_way() {
    let mut errors = ConfigErrors::new();
    errors.add(
        "archive.segment",
        "\"2h\"",
        Complaint::new("a segment is shorter than an hour", "write \"60s\""),
    );
    let told = errors.or(()).unwrap_err().to_string();
    assert_eq!(
        told,
        "archive.segment = \"2h\": a segment is shorter than an hour\nhint: write \"60s\""
    );
}
