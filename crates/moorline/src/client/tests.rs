//! Whose directory it is, which paths names become, and how what is not there is told.

use moorline_web::api::Problem;

use super::paths::plain;
use super::*;

#[test]
fn a_directory_of_another_user_is_not_told_as_an_empty_one() {
    let told = |kind: ErrorKind| {
        another_users(&kind.into(), Path::new("/var/lib/moorline"))
            .map(|told| moorline_base::error::report(&told))
    };
    let text = told(ErrorKind::PermissionDenied).unwrap();
    assert!(text.contains("another user's"), "{text}");
    assert!(text.contains("hint: ") && text.contains("sudo -u moorline"));
    assert_eq!(told(ErrorKind::NotFound), None);
    assert_eq!(told(ErrorKind::ConnectionRefused), None);
}

#[test]
fn names_become_paths() {
    assert_eq!(camera_path("yard").unwrap(), "/tenants/home/cameras/yard");
    assert!(camera_path("../yard").is_err());
    assert_eq!(segment("SHA256:a/b+c"), "SHA256%3Aa%2Fb%2Bc");
    assert_eq!(plain("SHA256%3Aa%2Fb%2Bc%zz%"), "SHA256:a/b+c%zz%");
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    let cameras = ["home/yard", "acme/gate"].map(|id| Named { id: id.to_owned() });
    let asked = |kind: &str, title: &str, path: &str| {
        let problem = Problem {
            kind: kind.to_owned(),
            title: title.to_owned(),
            status: 404,
            field: None,
            hint: None,
            request: None,
            rows: Vec::new(),
        };
        let error = told(problem, path, &cameras);
        let hints = error.downcast_ref::<Hinted>().map(Hinted::hints);
        let hint = hints.and_then(|hints| hints.first().cloned());
        (error.to_string(), hint.unwrap_or_default())
    };
    let camera = |path| asked("unknown", "there is no such camera", path);
    assert_eq!(
        camera("/tenants/home/cameras/yrad/segments?from=1"),
        (
            "there is no camera \"yrad\"".to_owned(),
            "did you mean yard?".to_owned()
        )
    );
    assert_eq!(
        camera("/tenants/home/cameras/x").1,
        "moorline camera list shows all"
    );
    let user = asked(
        "unknown",
        "there is no such user",
        "/tenants/home/users/bob",
    );
    assert_eq!(user.0, "there is no user \"bob\"");
    assert_eq!(user.1, "moorline user list shows all");
    let recording = asked(
        "unknown",
        "there is no such recording",
        "/segments/no%2Fkey",
    );
    assert_eq!(recording.0, "there is no recording \"no/key\"");
    let key = asked(
        "unknown_key",
        "the camera has no such key",
        "/tenants/home/cameras/yard/keys/SHA256%3Axx",
    );
    assert_eq!(key.0, "camera yard has no key SHA256:xx");
}
