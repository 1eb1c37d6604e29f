//! Where the installation's own pods may go, by its network policies: to what each is made for, and nowhere else. The cluster lab's network enforces
//! them in the long tier alone, so what is rendered is judged here.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::reach::{Caller, list, overlay, reached, selects, text};

/// All pods that policies are made for.
const PARTS: [&str; 6] = ["frontdoor", "mon", "signer", "sweeper", "tenants", "test"];
/// Those with a key of a store.
const WITH_STORES: [&str; 3] = ["frontdoor", "signer", "sweeper"];

/// What a part would dial.
struct Goal {
    address: Ipv4Addr,
    port: u16,
    /// A pod, and what its port is called.
    pod: Option<(Caller, &'static str)>,
}

impl Goal {
    fn address(address: [u8; 4], port: u16) -> Self {
        Self {
            address: address.into(),
            port,
            pod: None,
        }
    }

    fn pod(pod: Caller, name: &'static str, port: u16) -> Self {
        Self {
            address: Ipv4Addr::new(10, 244, 1, 9),
            port,
            pod: Some((pod, name)),
        }
    }

    fn name(&self) -> Option<&str> {
        self.pod.as_ref().map(|(_, name)| *name)
    }
}

fn within(network: &Value, address: Ipv4Addr) -> bool {
    let (network, bits) = text(network).split_once('/').unwrap();
    // Of IPv6 there is no goal here.
    let Ok(network) = network.parse::<Ipv4Addr>() else {
        return false;
    };
    let bits: u32 = bits.parse().unwrap();
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
    (u32::from(network) ^ u32::from(address)) & mask == 0
}

/// Whether a rule of a policy in that namespace lets somebody out to a goal.
fn lets_out(rule: &Value, namespace: &str, goal: &Goal) -> bool {
    let is_port = |one: &Value| {
        let tcp = matches!(text(&one["protocol"]), "" | "TCP");
        let port = &one["port"];
        tcp && (port.is_null()
            || *port == goal.port
            || goal.name().is_some_and(|name| *port == name))
    };
    let is_there = |peer: &Value| {
        let block = &peer["ipBlock"];
        if block.is_object() {
            let mut except = list(&block["except"]).iter();
            return within(&block["cidr"], goal.address)
                && !except.any(|network| within(network, goal.address));
        }
        let Some((pod, _)) = &goal.pod else {
            return false;
        };
        let spaces = &peer["namespaceSelector"];
        let there = match spaces.is_null() {
            true => pod.is_of(namespace),
            false => selects(spaces, &pod.namespace),
        };
        there && selects(&peer["podSelector"], &pod.labels)
    };
    (rule["ports"].is_null() || list(&rule["ports"]).iter().any(is_port))
        && (rule["to"].is_null() || list(&rule["to"]).iter().any(is_there))
}

/// Whether a part comes to a goal. Where that is a part too, it has to let it in.
fn comes_to(objects: &[Value], part: &str, goal: &Goal) -> bool {
    let caller = Caller::part(part);
    let mut policies = objects
        .iter()
        .filter(|object| object["kind"] == "NetworkPolicy")
        .filter(|policy| list(&policy["spec"]["policyTypes"]).contains(&json!("Egress")))
        .filter(|policy| selects(&policy["spec"]["podSelector"], &caller.labels))
        .peekable();
    // Without a policy a pod goes anywhere.
    let is_out = policies.peek().is_none()
        || policies.any(|policy| {
            let namespace = text(&policy["metadata"]["namespace"]);
            let mut rules = list(&policy["spec"]["egress"]).iter();
            rules.any(|rule| lets_out(rule, namespace, goal))
        });
    let is_in = goal.pod.as_ref().is_none_or(|(pod, name)| {
        let component = text(&pod.labels["app.kubernetes.io/component"]);
        component.is_empty() || reached(objects, &caller).contains(&format!("{component}/{name}"))
    });
    is_out && is_in
}

/// The parts that come to a goal.
fn who(objects: &[Value], goal: &Goal) -> Vec<&'static str> {
    let comes = |part: &&str| comes_to(objects, part, goal);
    PARTS.into_iter().filter(comes).collect()
}

/// Who has the people in a database.
fn people(overlay: &str) -> &'static [&'static str] {
    match overlay {
        "digitalocean" => &["frontdoor"],
        _ => &[],
    }
}

#[test]
fn each_part_goes_where_it_is_made_to_go_and_nowhere_else() {
    let name_server = || Caller::new("kube-system", json!({"k8s-app": "kube-dns"}));
    for overlay_name in ["digitalocean", "single-node"] {
        let objects = overlay(overlay_name);
        for (what, goal, wanted) in [
            ("names", Goal::pod(name_server(), "dns", 53), &PARTS[..]),
            (
                "a node's local cache of names",
                Goal::address([169, 254, 20, 10], 53),
                &PARTS,
            ),
            (
                "an API server in the cluster's network",
                Goal::address([10, 0, 0, 1], 6443),
                &PARTS,
            ),
            (
                "a managed API server, or the bucket",
                Goal::address([5, 101, 110, 1], 443),
                &PARTS,
            ),
            (
                "a tenant's own bucket",
                Goal::address([5, 101, 110, 1], 9000),
                &WITH_STORES,
            ),
            (
                "a private server that nobody named",
                Goal::address([10, 0, 0, 7], 9000),
                &[],
            ),
            (
                "the people's database",
                Goal::address([10, 0, 0, 8], 25060),
                people(overlay_name),
            ),
            (
                "the metadata service of a cloud",
                Goal::address([169, 254, 169, 254], 80),
                &[],
            ),
            ("a kubelet", Goal::address([10, 0, 0, 5], 10250), &[]),
            (
                "a web server in the cluster",
                Goal::pod(Caller::new("default", json!({})), "http", 80),
                &[],
            ),
            (
                "mon's gateway",
                Goal::pod(Caller::part("mon"), "gateway", 8443),
                &["mon", "test"],
            ),
            (
                "mon's port for cameras",
                Goal::pod(Caller::part("mon"), "ssh", 2222),
                &["test"],
            ),
            (
                "the signer",
                Goal::pod(Caller::part("signer"), "signer", 8444),
                &["frontdoor", "test"],
            ),
            (
                "a relay",
                Goal::pod(Caller::of_a_camera("t-acme", "relay"), "rtsp", 8554),
                &["frontdoor"],
            ),
            (
                "an archiver",
                Goal::pod(Caller::of_a_camera("t-acme", "archiver"), "admin", 9464),
                &[],
            ),
            (
                "somebody's pod that calls itself a relay",
                Goal::pod(Caller::of_a_camera("default", "relay"), "rtsp", 8554),
                &[],
            ),
            (
                "metrics of a part",
                Goal::pod(Caller::part("sweeper"), "admin", 9464),
                &[],
            ),
        ] {
            assert_eq!(who(&objects, &goal), wanted, "{what}, {overlay_name}");
        }
    }
}

/// What the rule is for.
#[test]
fn a_policy_that_lets_anybody_out_shows() {
    let whole = overlay("digitalocean");
    let mon = |object: &Value| {
        object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == "moorline-mon"
    };
    let at = whole.iter().position(mon).unwrap();
    let kubelet = Goal::address([10, 0, 0, 5], 10250);
    let mut objects = whole.clone();
    objects[at]["spec"]["policyTypes"] = json!(["Ingress"]);
    assert_eq!(who(&objects, &kubelet), ["mon"]);

    let mut objects = whole.clone();
    let rules = objects[at]["spec"]["egress"].as_array_mut().unwrap();
    rules.push(json!({}));
    assert_eq!(who(&objects, &kubelet), ["mon"]);

    let mut objects = whole;
    objects[at]["spec"]["egress"] = json!([]);
    let api_server = Goal::address([10, 0, 0, 1], 6443);
    assert!(!who(&objects, &api_server).contains(&"mon"));
}
