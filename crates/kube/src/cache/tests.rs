//! What is known after which order of versions, whom it wakes, and what is served of it.

use super::state::LEFT;
use super::*;
use moorline_core::camera::Enabled;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtSwcjEgyQ6LUwxeGVQbPqjkYhPKxMkqzhJvU8cDhqT";

fn object(name: &str, uid: &str, version: &str, generation: u64) -> resource::Camera {
    let mut spec: resource::CameraSpec = serde_json::from_str("{}").unwrap();
    spec.keys = vec![KEY.into()];
    let mut object = resource::Camera::new(name, spec);
    object.metadata.namespace = Some("t-acme".into());
    object.metadata.uid = Some(uid.into());
    object.metadata.resource_version = Some(version.into());
    object.status = Some(resource::CameraStatus {
        session: Some(Session {
            generation,
            ..Session::default()
        }),
        ..resource::CameraStatus::default()
    });
    object
}

fn id(text: &str) -> CameraId {
    text.parse().unwrap()
}

#[test]
fn an_older_version_never_replaces_a_newer_one() {
    let cache = Cache::default();
    cache.saw_camera(object("yard", "u1", "10", 4));
    let version = *cache.version().borrow();
    cache.saw_camera(object("yard", "u1", "9", 3));
    assert_eq!(
        cache.camera(&id("acme/yard")).unwrap().generation(),
        Generation(4)
    );
    cache.saw_camera(object("yard", "u1", "11", 5));
    assert_eq!(
        cache.camera(&id("acme/yard")).unwrap().generation(),
        Generation(5)
    );
    assert_eq!(
        *cache.version().borrow(),
        version,
        "a claim is no change of records"
    );
}

#[test]
fn a_claim_wakes_whoever_waits_for_that_camera_and_a_tenant_its_own_cameras() {
    let cache = Cache::default();
    cache.saw_camera(object("yard", "u1", "10", 4));
    let [mut yard, mut gate, other] =
        ["acme/yard", "acme/gate", "other/yard"].map(|name| cache.wakes().of(&id(name)));
    cache.saw_camera(object("yard", "u1", "11", 5));
    assert!(yard.has_changed().unwrap());
    assert!(!gate.has_changed().unwrap());
    yard.borrow_and_update();
    cache.saw_camera(object("yard", "u1", "11", 5));
    assert!(!yard.has_changed().unwrap(), "nothing new");
    let spec = serde_json::from_value(serde_json::json!({})).unwrap();
    cache.saw_tenant(resource::Tenant::new("acme", spec));
    assert!(gate.has_changed().unwrap());
    assert!(!other.has_changed().unwrap());
    gate.borrow_and_update();
    cache.all_cameras(vec![object("yard", "u1", "12", 6)]);
    assert!(gate.has_changed().unwrap(), "nobody knows which");
}

#[test]
fn a_camera_that_was_made_again_is_another_and_its_generation_goes_on() {
    let cache = Cache::default();
    cache.saw_camera(object("yard", "u1", "10", 17));
    cache.saw_camera(object("yard", "u2", "20", 0));
    cache.camera_gone(&id("acme/yard"), Some("u1"));
    assert_eq!(cache.camera(&id("acme/yard")).unwrap().uid, "u2");
    assert_eq!(cache.greatest(&id("acme/yard")), Generation(17));
}

#[test]
fn a_key_of_two_cameras_belongs_to_the_older_one_and_one_bad_camera_stops_nobody() {
    let cache = Cache::default();
    let mut bad = object("bad", "u3", "3", 0);
    bad.spec.timezone = "Nowhere".into();
    cache.all_cameras(vec![
        object("a", "u1", "1", 0),
        object("b", "u2", "2", 0),
        bad,
    ]);
    let records = cache.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records.get(&id("acme/a")).unwrap().keys.len(), 1);
    assert_eq!(records.get(&id("acme/b")).unwrap().keys.len(), 0);
    assert_eq!(cache.duplicates(&id("acme/a")), []);
    assert_eq!(cache.duplicates(&id("acme/b"))[0].owner, id("acme/a"));
    cache.camera_gone(&id("acme/a"), Some("u1"));
    assert_eq!(cache.duplicates(&id("acme/b")), [], "it is its own now");
}

#[test]
fn a_suspended_tenant_has_no_enabled_camera() {
    let cache = Cache::default();
    cache.saw_camera(object("yard", "u1", "1", 0));
    let tenant = |suspended| {
        let spec =
            serde_json::json!({"suspended": suspended, "store": {"bucket": "abc", "secret": "s"}});
        let mut tenant = resource::Tenant::new("acme", serde_json::from_value(spec).unwrap());
        tenant.metadata.resource_version = Some(if suspended { "2" } else { "3" }.into());
        tenant
    };
    let enabled = || cache.records().get(&id("acme/yard")).unwrap().enabled;
    assert_eq!(enabled(), Enabled::Yes);
    cache.saw_tenant(tenant(true));
    assert_eq!(enabled(), Enabled::Disabled);
    cache.saw_tenant(tenant(false));
    assert_eq!(enabled(), Enabled::Yes);
}

#[test]
fn names_that_come_and_go_do_not_fill_the_memory() {
    let cache = Cache::default();
    cache.saw_camera(object("stays", "u", "1", 3));
    for number in 0..LEFT + 50 {
        let name = format!("cam-{number}");
        let (uid, version) = (format!("u-{number}"), (number + 2).to_string());
        cache.saw_camera(object(&name, &uid, &version, 7));
        cache.camera_gone(&id(&format!("acme/{name}")), Some(&uid));
    }
    assert_eq!(cache.read(|state| state.greatest.len()), LEFT + 1);
    assert_eq!(cache.greatest(&id("acme/stays")), Generation(3));
    assert_eq!(cache.greatest(&id("acme/cam-0")), Generation(0));
    let last = format!("acme/cam-{}", LEFT + 49);
    assert_eq!(cache.greatest(&id(&last)), Generation(7));
}

#[test]
fn by_a_copy_only_tenants_that_it_knows_not_to_be_suspended_are_served() {
    let tenant = |name: &str, suspended: bool| {
        let spec = serde_json::json!({"suspended": suspended});
        let mut tenant = resource::Tenant::new(name, serde_json::from_value(spec).unwrap());
        tenant.metadata.resource_version = Some("1".into());
        tenant
    };
    let cameras = || {
        ["t-acme", "t-late", "t-new"].map(|namespace| {
            let mut camera = object("yard", namespace, "1", 0);
            camera.metadata.namespace = Some(namespace.into());
            camera
        })
    };
    let cache = Cache::default();
    let tenants = vec![tenant("acme", false), tenant("late", true)];
    cache.read_copy(tenants, cameras().to_vec());
    let enabled = |tenant: &str| {
        let records = cache.records();
        records.get(&id(&format!("{tenant}/yard"))).unwrap().enabled
    };
    assert_eq!(enabled("acme"), Enabled::Yes);
    assert_eq!(enabled("late"), Enabled::Disabled);
    assert_eq!(enabled("new"), Enabled::Disabled, "nobody knows");
    let tenants = [
        tenant("acme", false),
        tenant("late", false),
        tenant("new", false),
    ];
    cache.all_tenants(tenants.to_vec());
    assert_eq!(enabled("late"), Enabled::Yes);
    assert_eq!(enabled("new"), Enabled::Yes);
}
