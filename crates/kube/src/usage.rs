//! What pods use, in the words of the cluster's metrics server. Not every cluster has one.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::ListParams;
use moorline_base::Clock;
use serde::Deserialize;

use crate::call::{CALL, Fault, call};

/// As much of `PodMetricsList` as is read.
#[derive(Debug, Deserialize)]
struct Pods {
    items: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
struct Pod {
    metadata: Metadata,
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    usage: Usage,
}

#[derive(Debug, Deserialize)]
struct Usage {
    memory: String,
}

/// Memory (the working set) of the pods with these labels in that namespace, in bytes by name. A pod of which nothing was measured yet is left out.
///
/// # Errors
/// [`Fault::Missing`]: the cluster has no metrics server. Others as of any call.
pub async fn memory_of(
    client: &Client,
    clock: &dyn Clock,
    namespace: &str,
    labels: &str,
) -> Result<BTreeMap<String, u64>, Fault> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = kube::core::Request::new(path)
        .list(&ListParams::default().labels(labels))
        .map_err(|error| Fault::Invalid(error.to_string()))?;
    let pods = call(clock, CALL, client.request::<Pods>(request)).await?;
    Ok(memory(pods))
}

fn memory(pods: Pods) -> BTreeMap<String, u64> {
    let used = |pod: &Pod| -> Option<u64> {
        let all = pod.containers.iter().map(|one| bytes(&one.usage.memory));
        all.sum()
    };
    let pods = pods.items.into_iter();
    pods.filter_map(|pod| Some((used(&pod)?, pod.metadata.name)))
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, name)| (name, bytes))
        .collect()
}

/// A quantity of memory in bytes, of the forms in which metrics servers write it.
fn bytes(quantity: &str) -> Option<u64> {
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let unit = units.iter().find_map(|(unit, size)| {
        let digits = quantity.strip_suffix(*unit)?;
        Some((digits, *size))
    });
    let (digits, size) = unit.unwrap_or((quantity, 1));
    digits.parse::<u64>().ok()?.checked_mul(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_of_a_pod_are_added_up_and_one_without_a_number_is_left_out() {
        let container = |memory: &str| serde_json::json!({"name": "c", "usage": {"cpu": "1m", "memory": memory}});
        let pods = serde_json::json!({"items": [
            {"metadata": {"name": "mon-0"}, "containers": [container("2Ki"), container("1Mi")]},
            {"metadata": {"name": "mon-1"}, "containers": [container("much")]},
            {"metadata": {"name": "mon-2"}, "containers": []},
            {"metadata": {"name": "mon-3"}, "containers": [container("77")]},
        ]});
        let known = memory(serde_json::from_value(pods).unwrap());
        let wanted = [("mon-0", 2048 + (1 << 20)), ("mon-3", 77)];
        let wanted = wanted.map(|(name, bytes)| (name.to_owned(), bytes));
        assert_eq!(known, BTreeMap::from(wanted));
    }
}
