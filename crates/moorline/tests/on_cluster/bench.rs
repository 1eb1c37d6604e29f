//! `moorline bench cluster` and its tenant: no other is touched, and it goes also when the bench is interrupted.

use std::time::Duration;

use moorline_testkit::child::{Child, Signal};
use moorline_testkit::eventually;

use crate::cluster::{BINARY, CAMERAS, Cluster, TENANTS};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bench_takes_neither_a_tenant_that_exists_nor_an_address_that_is_none() {
    let cluster = Cluster::new("").await;
    cluster.run(&["tenant", "add", "acme"]).await.well();
    let words = ["bench", "cluster", "--tenant", "acme"];
    let err = cluster.run(&words).await.refused();
    assert!(
        err.contains("tenant acme exists already\nhint: the bench removes its tenant"),
        "{err}"
    );
    let acme = cluster.api.get(TENANTS, "", "acme").unwrap();
    assert!(acme["metadata"]["deletionTimestamp"].is_null(), "{acme}");
    let words = ["bench", "cluster", "--tenant", "load", "--ssh", "nowhere"];
    let err = cluster.run(&words).await.refused();
    assert!(err.contains("--ssh nowhere"), "{err}");
    assert!(cluster.api.get(TENANTS, "", "load").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_bench_removes_its_tenant_and_says_what_is_left_when_it_is_interrupted_again()
 {
    let cluster = Cluster::new("").await;
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut command = tokio::process::Command::new(BINARY);
    command
        .args(["bench", "cluster", "--tenant", "load", "--cameras", "1"])
        .args(["--ssh", &*address, "--kubeconfig", "kubeconfig"])
        .current_dir(cluster.directory.path());
    let mut bench = Child::spawn("moorline bench cluster", command).unwrap();
    let turn = bench.wait_for_line("camera 1 of 1", SOON).await;
    turn.unwrap();
    assert_eq!(cluster.api.list(CAMERAS).len(), 1);
    bench.signal(Signal::INT);
    // Nobody drains the camera here, so that the tenant stays, on its way out.
    eventually("the order to remove the tenant", SOON, || async {
        let tenant = cluster.api.get(TENANTS, "", "load")?;
        (!tenant["metadata"]["deletionTimestamp"].is_null()).then_some(())
    })
    .await;
    bench.signal(Signal::INT);
    let status = bench.wait(SOON).await.unwrap();
    let said = bench.tail();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("error: it was interrupted"), "{said}");
    assert!(
        said.contains("hint: moorline tenant show load --kubeconfig kubeconfig tells"),
        "{said}"
    );
}
