//! On a network that enforces network policies, as the lab's does when it is told to: they let through all that Moorline is made for, and nobody to what
//! is not for him. What is rendered is judged by `rules::reach` and `rules::leave`, without a network.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use futures::future::join_all;
use moorline_testkit::{
    cluster::{Fault, Namespace, SOON, Security},
    eventually,
};
use serde_json::{Value, json};

use crate::{
    checked,
    support::{Moorline, Person, Pod, Replica, Tenant, assert_in_order, now_us, plays},
};

async fn enforced(moorline: &Moorline) -> Fault {
    let lab = moorline.cluster().lab().unwrap();
    lab.enforce_policies().await.unwrap()
}

/// Whatever was connected before may stay so: each part begins anew where policies are enforced.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs kube-router, and every part begins anew"]
async fn a_camera_goes_the_whole_way_where_policies_are_enforced() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let _store = moorline.bucket.at_its_port(moorline.cluster()).await;
    let enforced = enforced(&moorline).await;
    for part in [
        "statefulset/moorline-mon",
        "deployment/moorline-signer",
        "deployment/moorline-tenants",
        "deployment/moorline-sweeper",
    ] {
        let words = ["rollout", "restart", part];
        moorline.system.kubectl(&words).await.unwrap();
    }
    moorline.until_ready().await;
    let tenant = moorline.tenant("enforced").await;
    let [first, _] = moorline.pair().await;
    let yard = tenant.camera("yard", 391).await;
    let mut call = yard.call_with_agent(&moorline, &first);
    tenant.until_recorded(&yard).await;
    let archive = tenant.until_stored(&yard).await;

    let door = moorline.front_door().await;
    let anna = door.user(&tenant, "anna").await;
    let url = anna.url("rtsp", door.rtsp, "yard");
    eventually("a viewer who sees pictures", SOON, || async {
        plays(&url).await.then_some(())
    })
    .await;
    let browser = Person::sign_in(door.https, &anna.name, &anna.password).await;
    let first = archive.segments[0].range();
    let path = format!(
        "/tenants/{}/cameras/yard/segments?from={}&to={}",
        tenant.name, first.from, first.to
    );
    let answer = browser.ask("GET", &path, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json();
    let mut all = rows.as_array().into_iter().flatten();
    assert!(all.any(|row| row["held"] == "store"), "{rows:#}");

    let pods = tenant.pair(&yard).await;
    call.child.write(b"BYE\n").await.unwrap();
    let bye = now_us();
    call.child.wait(SOON).await.unwrap();
    tenant.until_gone(&yard).await;
    for pod in pods {
        let object = format!("pod/{}", pod.name);
        tenant.space.until_gone(&object, SOON).await.unwrap();
    }
    let archive = tenant.archive(&yard);
    archive.assert_covered();
    let pictures = archive.pictures(&moorline.bucket, yard.number).await;
    assert_in_order(&pictures, yard.number);
    let last = pictures.last().unwrap();
    assert!(
        last.sent_us + 1_500_000 > bye,
        "recorded until the end: {archive:#?}"
    );
    enforced.heal().await.unwrap();
}

/// The first that somebody types on a cluster whose network enforces policies.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs kube-router"]
async fn the_test_of_a_release_passes_where_policies_are_enforced() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let _store = moorline.bucket.at_its_port(moorline.cluster()).await;
    let enforced = enforced(&moorline).await;
    checked::goes_the_whole_way(&moorline).await;
    enforced.heal().await.unwrap();
}

/// A pod that tries.
struct Place {
    who: &'static str,
    node: String,
    uid: String,
}

impl Place {
    fn part(who: &'static str, replica: &Replica) -> Self {
        Self {
            who,
            node: replica.node.clone(),
            uid: replica.uid.clone(),
        }
    }

    fn of_a_camera(who: &'static str, pod: &Pod) -> Self {
        Self {
            who,
            node: pod.node.clone(),
            uid: pod.uid.clone(),
        }
    }
}

/// What it tries, and who comes there where policies are enforced.
struct Goal {
    what: &'static str,
    at: SocketAddr,
    by: &'static [&'static str],
}

/// An empty list is everybody.
fn goal(what: &'static str, ip: IpAddr, port: u16, by: &'static [&'static str]) -> Goal {
    let at = SocketAddr::new(ip, port);
    Goal { what, at, by }
}

/// Who came where.
type Ways = BTreeSet<(&'static str, &'static str)>;

async fn seen(moorline: &Moorline, places: &[Place], goals: &[Goal]) -> Ways {
    let at: Vec<SocketAddr> = goals.iter().map(|goal| goal.at).collect();
    let mut ways = Ways::new();
    // At once: what a bridge holds back between pods of one node is not refused, it ends by its time.
    let tries = places
        .iter()
        .map(|place| moorline.comes_to(&place.node, &place.uid, &at));
    for (place, reached) in places.iter().zip(join_all(tries).await) {
        let goals = goals.iter().zip(reached).filter(|(_, reached)| *reached);
        ways.extend(goals.map(|(goal, _)| (place.who, goal.what)));
    }
    ways
}

/// Policies are followed a moment after they changed. Each round that saw something else is told.
async fn until_seen(what: &str, wanted: &Ways, moorline: &Moorline, all: (&[Place], &[Goal])) {
    eventually(what, SOON * 2, || async {
        let seen = seen(moorline, all.0, all.1).await;
        if seen != *wanted {
            let more: Vec<_> = seen.difference(wanted).collect();
            let less: Vec<_> = wanted.difference(&seen).collect();
            println!("{what}: reached besides {more:?}, not reached {less:?}");
        }
        (seen == *wanted).then_some(())
    })
    .await;
}

async fn address(space: &Namespace, pod: &str) -> IpAddr {
    let object = space.get(&[&format!("pod/{pod}")]).await.unwrap();
    let ip = object["status"]["podIP"].as_str();
    ip.unwrap_or_else(|| panic!("{object:#}")).parse().unwrap()
}

/// A web server on 8080 that is nobody's of ours, and where it is.
async fn somebody(space: &Namespace, who: &'static str) -> (Place, SocketAddr) {
    let account = "serviceaccount/default";
    let there = |account: &Value| account.is_object().then_some(());
    space
        .until(account, "its account", SOON, there)
        .await
        .unwrap();
    let pod = space.shell_pod("somebody", "exec httpd -f -p 8080 -h /tmp");
    space.apply(&pod).await.unwrap();
    space.until_ready("somebody").await.unwrap();
    let object = space.get(&["pod/somebody"]).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let place = Place {
        who,
        node: text(&object["spec"]["nodeName"]),
        uid: text(&object["metadata"]["uid"]),
    };
    let at = SocketAddr::new(address(space, "somebody").await, 8080);
    (place, at)
}

async fn two(moorline: &Moorline, part: &str) -> [Replica; 2] {
    let all = moorline.parts(part).await;
    <[Replica; 2]>::try_from(all).unwrap_or_else(|all| panic!("two of {part}: {all:?}"))
}

/// S18. All is tried from the parts' own pods, first where nothing is enforced: each try is good, and what fails afterwards fails by a policy.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs kube-router"]
async fn nobody_comes_to_what_is_not_for_him_where_policies_are_enforced() {
    let Some(moorline) = Moorline::installed().await else {
        return;
    };
    let cluster = moorline.cluster();
    let lab = cluster.lab().unwrap();
    let store = moorline.bucket.at_its_port(cluster).await;
    let (tenant, other) = (
        moorline.tenant("reach").await,
        moorline.tenant("beside").await,
    );
    let [mon, second_mon] = moorline.pair().await;
    let (yard, gate) = (
        tenant.camera("yard", 392).await,
        other.camera("gate", 393).await,
    );
    let (_yard, _gate) = (
        yard.call(&moorline, &mon),
        gate.call(&moorline, &second_mon),
    );
    tenant.until_recorded(&yard).await;
    other.until_recorded(&gate).await;
    let [relay, archiver] = tenant.pair(&yard).await;
    let [its_relay, its_archiver] = other.pair(&gate).await;
    let door = moorline.front_door().await;
    let [signer, second_signer] = two(&moorline, "signer").await;
    let [front_door, second_door] = two(&moorline, "frontdoor").await;
    let (tenants, sweeper) = (
        moorline.parts("tenants").await,
        moorline.parts("sweeper").await,
    );
    let foreign = cluster.namespace("foreign", Security::Privileged).await;
    let foreign = foreign.unwrap();
    // The name that the chart lets read metrics.
    let monitoring = cluster.namespace_of_others("monitoring");
    let kind =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": monitoring.name()}});
    let _end = moorline.later(&["delete", "namespace", monitoring.name(), "--wait=false"]);
    cluster.apply(&kind).await.unwrap();
    let (stranger, web) = somebody(&foreign, "stranger").await;
    let (collector, _) = somebody(&monitoring, "collector").await;
    let places = [
        Place::of_a_camera("relay", &relay),
        Place::of_a_camera("archiver", &archiver),
        Place::of_a_camera("other's archiver", &its_archiver),
        Place::part("mon", &mon),
        Place::part("signer", &signer),
        Place::part("front door", &front_door),
        Place::part("tenants", &tenants[0]),
        Place::part("sweeper", &sweeper[0]),
        stranger,
        collector,
    ];
    let of = async |tenant: &Tenant<'_>, pod: &Pod| address(&tenant.space, &pod.name).await;
    let host = IpAddr::from(lab.host());
    let node = IpAddr::from([10, 98, 0, 11]);
    let everybody = &places.each_ref().map(|place| place.who);
    // A pod always comes to itself. Of two replicas the first one tries, and the second one is tried; kube-router takes what a policy lets in as let
    // out too, between pods of that policy.
    let goals = [
        goal("names", host, 53, &[]),
        goal(
            "mon, cameras",
            second_mon.ip,
            2222,
            &["mon", "stranger", "collector"],
        ),
        goal(
            "mon, gateway",
            second_mon.ip,
            8443,
            &["relay", "archiver", "other's archiver", "mon"],
        ),
        goal("mon, metrics", second_mon.ip, 9464, &["collector"]),
        goal(
            "signer",
            second_signer.ip,
            8444,
            &["archiver", "other's archiver", "front door"],
        ),
        goal(
            "sweeper, metrics",
            sweeper[0].ip,
            9464,
            &["sweeper", "collector"],
        ),
        goal(
            "front door, players",
            second_door.ip,
            8554,
            &["front door", "stranger", "collector"],
        ),
        goal(
            "relay",
            of(&tenant, &relay).await,
            8554,
            &["relay", "archiver", "front door"],
        ),
        goal(
            "other's relay",
            of(&other, &its_relay).await,
            8554,
            &["other's archiver", "front door"],
        ),
        goal(
            "archiver, health",
            of(&tenant, &archiver).await,
            9464,
            &["archiver"],
        ),
        goal(
            "API server",
            host,
            6443,
            &[
                "mon",
                "signer",
                "front door",
                "tenants",
                "sweeper",
                "stranger",
                "collector",
            ],
        ),
        goal(
            "bucket",
            host,
            store.address().port(),
            &[
                "archiver",
                "other's archiver",
                "signer",
                "front door",
                "sweeper",
                "stranger",
                "collector",
            ],
        ),
        // By the settings of these tests tenants' buckets may lie at this address, so who holds keys of buckets comes to each of its ports.
        goal(
            "PostgreSQL",
            host,
            door.people.address.port(),
            &["signer", "front door", "sweeper", "stranger", "collector"],
        ),
        goal("kubelet", node, 10250, &["stranger", "collector"]),
        goal(
            "somebody's server",
            web.ip(),
            web.port(),
            &["stranger", "collector"],
        ),
    ];
    let all = (&places[..], &goals[..]);
    let mut wanted = Ways::new();
    let mut open = Ways::new();
    for goal in &goals {
        open.extend(everybody.iter().map(|who| (*who, goal.what)));
        let by = match goal.by {
            [] => &everybody[..],
            some => some,
        };
        wanted.extend(by.iter().map(|who| (*who, goal.what)));
    }
    until_seen("nothing is enforced", &open, &moorline, all).await;
    let enforced = enforced(&moorline).await;
    until_seen("policies are enforced", &wanted, &moorline, all).await;
    enforced.heal().await.unwrap();
    until_seen("nothing is enforced any more", &open, &moorline, all).await;
}
