use proptest::prelude::*;

use super::*;

fn shape(image: &str) -> Shape {
    Shape::new("u-1", [image])
}

fn pod(role: Role, number: i64, image: &str) -> PodView {
    PodView {
        uid: PodUid(format!("{}-{number}", role.as_str())),
        name: format!("pod-{}-{number}", role.as_str()),
        namespace: "t-acme".into(),
        camera: "acme/yard".parse().unwrap(),
        owner: Some("u-1".into()),
        role,
        account: String::new(),
        shape: Some(shape(image).as_str().to_owned()),
        created: number,
        ends: None,
        deleting: false,
        over: false,
        ready: true,
        pending: false,
        untouched: false,
        address: None,
        trouble: None,
        restarts: 0,
        ended: None,
        disrupted: None,
    }
}

fn wanted(image: &str) -> Wanted {
    Wanted {
        shape: shape(image),
        archiver: true,
    }
}

struct World {
    wanted: Option<Wanted>,
    pods: Vec<Arc<PodView>>,
    leaving: BTreeMap<PodUid, Progress>,
    replace: Replace,
    used: BTreeSet<PodUid>,
    connected: BTreeSet<PodUid>,
}

impl World {
    fn new(wanted: Option<Wanted>, pods: Vec<PodView>) -> Self {
        let mut pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
        pods.sort_by_key(|pod| -pod.created);
        Self {
            wanted,
            pods,
            leaving: BTreeMap::new(),
            replace: Replace::NotYet,
            used: BTreeSet::new(),
            connected: BTreeSet::new(),
        }
    }

    fn plan(&self) -> Plan {
        plan(&Situation {
            camera: "yard",
            wanted: self.wanted.as_ref(),
            pods: &self.pods,
            leaving: &self.leaving,
            replace: self.replace,
            used: &self.used,
            connected: &self.connected,
        })
    }
}

#[test]
fn what_is_found_is_adopted_and_nothing_is_made_twice() {
    let fresh = World::new(Some(wanted("a")), vec![]).plan();
    assert_eq!(fresh.steps.len(), 2);
    let found = World::new(
        Some(wanted("a")),
        vec![pod(Role::Relay, 1, "a"), pod(Role::Archiver, 1, "a")],
    );
    assert_eq!(found.plan().steps, []);
    assert_eq!(found.plan().current.len(), 2);
}

#[test]
fn an_archiver_is_deleted_only_when_it_has_said_drained_or_is_overdue() {
    let mut world = World::new(None, vec![pod(Role::Archiver, 1, "a")]);
    let uid = world.pods[0].uid.clone();
    let leave = Step::Leave {
        role: Role::Archiver,
        uid: uid.clone(),
    };
    assert_eq!(world.plan().steps, [leave]);
    world.leaving.insert(uid.clone(), Progress::default());
    assert_eq!(world.plan().steps, []);
    for progress in [(true, false), (false, true)] {
        let (drained, overdue) = progress;
        world
            .leaving
            .insert(uid.clone(), Progress { drained, overdue });
        assert!(matches!(&world.plan().steps[..], [Step::Delete { uid: of, .. }] if *of == uid));
    }
}

/// Its image is missing, or there is no place for it: it says nothing, and nobody waits for a day.
#[test]
fn an_archiver_that_never_ran_is_deleted_at_once_when_it_is_not_wanted() {
    let mut never = pod(Role::Archiver, 1, "a");
    never.untouched = true;
    let world = World::new(None, vec![never.clone()]);
    let steps = world.plan().steps;
    assert!(matches!(
        &steps[..],
        [Step::Leave { .. }, Step::Delete { .. }]
    ));
    let world = World::new(Some(wanted("a")), vec![pod(Role::Relay, 1, "a"), never]);
    assert_eq!(world.plan().steps, [], "what is wanted is waited for");
}

#[test]
fn a_camera_that_is_back_while_draining_gets_an_archiver_beside_the_old_one() {
    let mut world = World::new(Some(wanted("a")), vec![pod(Role::Archiver, 1, "a")]);
    world
        .leaving
        .insert(world.pods[0].uid.clone(), Progress::default());
    let steps = world.plan().steps;
    let names: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Create {
                role: Role::Archiver,
                name,
            } => Some(name.clone()),
            _ => None,
        })
        .collect();
    let first = names::pod("yard", Role::Archiver, &shape("a"), None);
    assert_eq!(names.len(), 1);
    assert_ne!(
        names[0], first,
        "its name is another one than the predecessor's could be"
    );
}

/// A camera that comes and goes twice within a second, while the store is away: both archivers drain, and the third has a name of its own.
#[test]
fn a_successor_never_has_the_name_of_a_pod_that_is_there() {
    for swapped in [false, true] {
        let mut first = pod(Role::Archiver, 1, "a");
        first.name = names::pod("yard", Role::Archiver, &shape("a"), None);
        let mut second = pod(Role::Archiver, 1, "a");
        second.uid = PodUid("archiver-2".into());
        let after =
            |pod: &PodView| names::pod("yard", Role::Archiver, &shape("a"), Some(&pod.uid.0));
        second.name = after(&first);
        let third = after(&second);
        let mut world = World::new(Some(wanted("a")), vec![first, second]);
        if swapped {
            world.pods.reverse();
        }
        for pod in &world.pods {
            world.leaving.insert(pod.uid.clone(), Progress::default());
        }
        let steps = world.plan().steps;
        let made = steps.iter().find_map(|step| match step {
            Step::Create {
                role: Role::Archiver,
                name,
            } => Some(name.clone()),
            _ => None,
        });
        assert_eq!(made, Some(third), "{swapped}: {steps:?}");
    }
}

#[test]
fn another_image_replaces_when_both_successors_stand_by() {
    let old = vec![pod(Role::Relay, 1, "a"), pod(Role::Archiver, 1, "a")];
    let uids = |number: u8| [format!("relay-{number}"), format!("archiver-{number}")].map(PodUid);
    let mut world = World::new(Some(wanted("b")), old);
    world.used.extend(uids(1));
    assert_eq!(world.plan().steps, []);
    world.replace = Replace::Beside;
    let plan = world.plan();
    let creates = |step: &Step| matches!(step, Step::Create { .. });
    assert_eq!(plan.steps.len(), 2, "{plan:?}");
    assert!(plan.steps.iter().all(creates), "{plan:?}");
    assert_eq!(plan.current.len(), 2, "the old ones serve: {plan:?}");

    for role in [Role::Relay, Role::Archiver] {
        world.pods.insert(0, Arc::new(pod(role, 2, "b")));
    }
    let [relay, archiver] = uids(2);
    for connected in [vec![], vec![relay.clone()], vec![archiver.clone()]] {
        world.connected = connected.into_iter().collect();
        let plan = world.plan();
        assert_eq!(plan.steps, []);
        assert!(plan.outdated);
        assert!(plan.current.iter().all(|(_, uid)| world.used.contains(uid)));
    }

    world.connected.insert(relay.clone());
    let plan = world.plan();
    assert!(!plan.outdated);
    assert_eq!(
        plan.current,
        [(Role::Relay, relay), (Role::Archiver, archiver)]
    );
    let leaves = |step: &Step| matches!(step, Step::Leave { uid, .. } | Step::Delete { uid, .. } if world.used.contains(uid));
    assert!(plan.steps.iter().all(leaves), "{plan:?}");
    assert_eq!(plan.steps.len(), 3, "the relay is deleted: {plan:?}");
}

/// What serves is not waited for if it serves no longer. Both roles go over: a set is ordered as a whole.
#[test]
fn a_pod_that_is_over_is_succeeded_by_the_one_that_stands_by_and_so_is_the_other() {
    let mut over = pod(Role::Relay, 1, "a");
    over.over = true;
    let mut pods = vec![over, pod(Role::Relay, 2, "b"), pod(Role::Archiver, 1, "a")];
    for stands_by in [false, true] {
        if stands_by {
            pods.push(pod(Role::Archiver, 2, "b"));
        }
        let mut world = World::new(Some(wanted("b")), pods.clone());
        world.used = ["relay-1", "archiver-1"]
            .map(|uid| PodUid(uid.to_owned()))
            .into();
        world.replace = Replace::Beside;
        let plan = world.plan();
        let current: Vec<&str> = plan.current.iter().map(|(_, uid)| &*uid.0).collect();
        let expected: &[&str] = match stands_by {
            true => &["relay-2", "archiver-2"],
            false => &["relay-2"],
        };
        assert_eq!(current, expected);
        let leaves = |step: &Step| matches!(step, Step::Leave { uid, .. } if uid.0 == "archiver-1");
        assert!(plan.steps.iter().any(leaves), "{plan:?}");
        assert_eq!(plan.creates(), !stands_by);
    }
}

/// A class with a wrong image is put right: nothing is waited for, and no other camera is first.
#[test]
fn pods_that_never_ran_are_replaced_at_once() {
    let never = [Role::Relay, Role::Archiver].map(|role| {
        let mut never = pod(role, 1, "a");
        never.untouched = true;
        never
    });
    let mut world = World::new(Some(wanted("b")), never.to_vec());
    world.used = never.iter().map(|pod| pod.uid.clone()).collect();
    let plan = world.plan();
    assert!(!plan.outdated && plan.current.is_empty(), "{plan:?}");
    let deletes = |step: &&Step| matches!(step, Step::Delete { .. });
    assert_eq!(plan.steps.iter().filter(deletes).count(), 2, "{plan:?}");
    assert!(plan.creates(), "{plan:?}");
}

/// After a restart of mon, or at another replica: nobody has told them anything here yet.
#[test]
fn successors_that_have_not_connected_here_are_not_used_by_whoever_finds_them() {
    let pods = || {
        [(1, "a"), (2, "b")]
            .into_iter()
            .flat_map(|(number, image)| {
                [Role::Relay, Role::Archiver].map(|role| pod(role, number, image))
            })
    };
    for replace in [Replace::NotYet, Replace::Beside] {
        let mut world = World::new(Some(wanted("b")), pods().collect());
        world.replace = replace;
        let plan = world.plan();
        assert_eq!(plan.steps, [], "{replace:?}");
        assert!(plan.outdated);
        let old = |(_, uid): &(Role, PodUid)| uid.0.ends_with("-1");
        assert!(plan.current.iter().all(old), "{plan:?}");
        world.connected = ["relay-2", "archiver-2"]
            .map(|uid| PodUid(uid.to_owned()))
            .into();
        let plan = world.plan();
        assert!(!plan.current.iter().any(old), "{replace:?}: {plan:?}");
    }
}

#[test]
fn another_image_replaces_where_there_is_no_place_for_both_the_relay_first_deleted() {
    let old = || vec![pod(Role::Relay, 1, "a"), pod(Role::Archiver, 1, "a")];
    let mut world = World::new(Some(wanted("b")), old());
    assert_eq!(world.plan().steps, []);
    assert!(world.plan().outdated);
    world.replace = Replace::InPlace;
    let steps = world.plan().steps;
    assert!(
        steps
            .iter()
            .any(|step| matches!(step, Step::Delete { uid, .. } if uid.0 == "relay-1"))
    );
    assert!(!steps.iter().any(|step| matches!(
        step,
        Step::Create {
            role: Role::Relay,
            ..
        }
    )));
    assert!(steps.iter().any(|step| matches!(
        step,
        Step::Create {
            role: Role::Archiver,
            ..
        }
    )));
    assert!(
        !steps
            .iter()
            .any(|step| matches!(step, Step::Delete { uid, .. } if uid.0 == "archiver-1"))
    );
}

#[test]
fn an_evicted_pod_is_deleted_and_succeeded() {
    let mut evicted = pod(Role::Archiver, 1, "a");
    evicted.over = true;
    let world = World::new(Some(wanted("a")), vec![pod(Role::Relay, 1, "a"), evicted]);
    let steps = world.plan().steps;
    assert!(
        matches!(
            &steps[..],
            [
                Step::Delete { .. },
                Step::Create {
                    role: Role::Archiver,
                    ..
                }
            ]
        ),
        "{steps:?}"
    );
}

type AnyPod = (bool, u8, bool, bool, bool, bool, Option<(bool, bool)>);

fn any_pod() -> impl Strategy<Value = AnyPod> {
    (
        any::<bool>(),
        0_u8..2,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of((any::<bool>(), any::<bool>())),
    )
}

proptest! {
    /// Whatever is there: no archiver with a spool is deleted, no current pod is touched, at most one pod of a role is current or made, and beside it one that
    /// succeeds it.
    #[test]
    fn no_plan_loses_a_spool(
        made in proptest::collection::vec(any_pod(), 0..6),
        want in proptest::option::of((any::<bool>(), any::<bool>())),
        replace in proptest::sample::select(vec![Replace::NotYet, Replace::Beside, Replace::InPlace]),
        used in proptest::collection::btree_set(0_usize..6, 0..3),
        connected in proptest::collection::btree_set(0_usize..6, 0..6),
    ) {
        let mut leaving = BTreeMap::new();
        let pods = made.iter().zip(1..).map(|((relay, image, deleting, over, ready, untouched, progress), number)| {
            let role = if *relay { Role::Relay } else { Role::Archiver };
            let mut pod = pod(role, number, ["a", "b"][usize::from(*image)]);
            (pod.deleting, pod.over, pod.ready) = (*deleting, *over, *ready);
            pod.untouched = *untouched && !*over && !*ready;
            if let Some((drained, overdue)) = *progress {
                leaving.insert(pod.uid.clone(), Progress { drained, overdue });
            }
            pod
        }).collect();
        let wanted = want.map(|(b, archiver)| Wanted {
            shape: shape(if b { "b" } else { "a" }),
            archiver,
        });
        let mut world = World::new(wanted, pods);
        (world.leaving, world.replace) = (leaving, replace);
        let uids = |of: BTreeSet<usize>| {
            let known = of.iter().filter_map(|index| world.pods.get(*index));
            known.map(|pod| pod.uid.clone()).collect::<BTreeSet<_>>()
        };
        (world.used, world.connected) = (uids(used), uids(connected));
        let plan = world.plan();
        for step in &plan.steps {
            let (Step::Delete { uid, .. } | Step::Leave { uid, .. }) = step else { continue };
            prop_assert!(plan.current.iter().all(|(_, current)| current != uid));
            let pod = world.pods.iter().find(|pod| pod.uid == *uid).unwrap();
            prop_assert!(!pod.deleting);
            let no_spool = pod.over || pod.untouched;
            if let (Step::Delete { .. }, Role::Archiver, false) = (step, pod.role, no_spool) {
                let progress = world.leaving.get(uid).copied().unwrap_or_default();
                prop_assert!(progress.drained || progress.overdue);
            }
        }
        for role in [Role::Relay, Role::Archiver] {
            let current = plan.current.iter().filter(|(of, _)| *of == role).count();
            let made = plan.steps.iter().filter(|step| matches!(step, Step::Create { role: of, .. } if *of == role)).count();
            let successor = usize::from(replace == Replace::Beside && plan.outdated);
            prop_assert!(current <= 1 && made <= 1 && current + made <= 1 + successor);
        }
        // What serves serves on until both successors have connected.
        let usable = |role: Role, right: bool| {
            let shape = world.wanted.as_ref()?.shape(role)?.as_str().to_owned();
            world.pods.iter().find(|pod| {
                let is_right = pod.shape.as_deref() == Some(shape.as_str());
                let serves = right || !pod.untouched;
                pod.role == role && is_right == right && serves && !pod.deleting && !pod.over && !world.leaving.contains_key(&pod.uid)
            })
        };
        let roles = || [Role::Relay, Role::Archiver].into_iter().filter(|role| {
            world.wanted.as_ref().is_some_and(|wanted| wanted.shape(*role).is_some())
        });
        let serve = roles().all(|role| usable(role, false).is_some());
        let ready = roles().all(|role| usable(role, true).is_some_and(|pod| world.connected.contains(&pod.uid)));
        if replace != Replace::InPlace && serve && !ready {
            for (role, uid) in &plan.current {
                let right = usable(*role, true).is_some_and(|pod| pod.uid == *uid);
                prop_assert!(!right, "{role:?}");
            }
        }
    }
}
