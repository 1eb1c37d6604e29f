//! Which rows are wrong, and how that is told.

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

fn looked(text: &str) -> Result<Vec<CameraAdd>, String> {
    let rows = camera_rows::rows(text).unwrap();
    let table = table("cameras.csv", &rows).map_err(|error| told_whole(&error))?;
    let Looked { cameras, wrong, .. } = look(&table, &[], &|name| Ok(name.parse()?));
    match wrong.is_empty() {
        true => Ok(cameras),
        false => Err(told_whole(&told("cameras.csv", table.rows.len(), &wrong))),
    }
}

fn told_whole(error: &anyhow::Error) -> String {
    moorline_base::error::report(error.as_ref())
}

#[test]
fn the_columns_are_what_camera_add_takes() {
    let text = format!(
        "Name;Title;key;keep;record;allow-from\nyard;Yard, behind;{KEY};7d;sub;192.0.2.0/24 2001:db8::/32\n"
    );
    let found = looked(&text).unwrap_or_else(|told| panic!("{told}"));
    let [yard] = found.as_slice() else {
        panic!("one camera")
    };
    assert_eq!(
        (yard.name.as_str(), yard.keys.as_slice()),
        ("yard", &[KEY.to_owned()][..])
    );
    assert_eq!(yard.title.as_deref(), Some("Yard, behind"));
    assert_eq!(yard.change.keep_days, Some(7));
    let networks = yard.change.allow_from.as_deref().unwrap();
    assert_eq!(networks, ["192.0.2.0/24", "2001:db8::/32"]);
    assert_eq!(yard.change.site, None, "what is empty is left out");
}

#[test]
fn p11_every_wrong_row_is_told_with_line_column_value_and_cure() {
    let text = format!(
        "name,key,rtsp,record,keep,login\n\
         yard,{KEY},,,,\n\
         Hall,,rtsp://192.168.1.5/,,,\n\
         yard,,rtsp://192.168.1.5/,,,\n\
         door,,,,,\n\
         roof,ssh-dss AAAA,,,,\n\
         gate,SHA256:abc,,,,\n\
         shed,,rtsp://192.168.1.5/,all,,\n\
         barn,,rtsp://192.168.1.5/,,14,\n\
         well,,rtsp://192.168.1.5/,,,root\n\
         acme/pond,,rtsp://192.168.1.5/,,,\n\
         cow,,rtsp://192.168.1.5/,,,,moo\n"
    );
    let told = looked(&text).err().unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "nothing was added: 10 of 11 rows are wrong");
    for (at, (line, part)) in [
        (3, "name = \"Hall\": "),
        (4, "name = \"yard\": line 2 has it already"),
        (5, "key = \"\": give its public key"),
        (6, "key = \"ssh-dss AAAA\": "),
        (7, "key = \"SHA256:abc\": nobody with this fingerprint"),
        (8, "record = \"all\": write main, sub, off or auto"),
        (9, "keep = \"14\": write 1d to 999d"),
        (10, "password_file = \"\": a login needs a file"),
        (
            11,
            "name = \"acme/pond\": the cameras before it are another",
        ),
        (12, "7 cells, and the header names 6"),
    ]
    .into_iter()
    .enumerate()
    {
        let wanted = format!("cameras.csv:{line}: {part}");
        assert!(lines[at + 1].starts_with(&wanted), "{wanted}\n{told}");
    }
    assert!(lines[11].starts_with("hint: "), "{told}");
}

#[test]
fn a_header_that_is_wrong_is_told_with_the_right_one() {
    for (text, part) in [
        ("nmae,key\nyard,x\n", "did you mean \"name\"?"),
        ("name,colour\nyard,x\n", "there are name, title"),
        ("name,password\nyard,x\n", "password_file"),
        ("name,name\nyard,x\n", "the column name is there twice"),
        ("title,key\nYard,x\n", "there is no column name"),
        ("name,key\n", "has no cameras"),
        ("", "cameras.csv is empty"),
    ] {
        let told = looked(text).err().unwrap();
        assert!(told.contains(part), "{part}\n{told}");
        assert!(told.contains("hint: "), "{told}");
    }
}

#[test]
fn what_the_server_refuses_is_told_at_its_cell_between_what_is_wrong_here() {
    let text =
        "name,timezone,rtsp\nhall,Mars,rtsp://x/\nDoor,,rtsp://x/\nyard,,rtsp://x/\nbarn,,\n";
    let rows = camera_rows::rows(text).unwrap();
    let table = table("cameras.csv", &rows).unwrap();
    let problem = |row, title: &str, field: &str, hint: &str| RowProblem {
        row,
        title: title.to_owned(),
        field: Some(field.to_owned()),
        hint: Some(hint.to_owned()),
    };
    let problems = [
        problem(0, "timezone = \"Mars\" is not right", "timezone", "use UTC"),
        problem(
            1,
            "camera home/yard exists already",
            "name",
            "choose another name",
        ),
    ];
    let Looked {
        rows, mut wrong, ..
    } = look(&table, &[], &|name| Ok(name.parse()?));
    refuse(&table, &rows, &problems, &mut wrong);
    let told = told_whole(&told("cameras.csv", 4, &wrong));
    let lines: Vec<&str> = told.lines().skip(1).collect();
    for (at, part) in [
        "cameras.csv:2: timezone = \"Mars\": use UTC",
        "cameras.csv:3: name = \"Door\": ",
        "cameras.csv:4: name = \"yard\": camera home/yard exists already: choose another name",
        "cameras.csv:5: key = \"\": give its public key",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(lines[at].starts_with(part), "{part}\n{told}");
    }
}

#[test]
fn p10_a_login_in_a_url_is_not_repeated() {
    let rows = camera_rows::rows("name,rtsp\nhall,rtsp://admin:hunter2@192.168.1.5/\n").unwrap();
    let table = table("cameras.csv", &rows).unwrap();
    let wrong = table.wrong(&table.rows[0], "rtsp", "leave the login out");
    let told = told_whole(&told("cameras.csv", 1, &[wrong]));
    assert!(!told.contains("hunter2"), "{told}");
}
