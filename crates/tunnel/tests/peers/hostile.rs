//! A client of our own that does what real ones do not.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use moorline_core::key::KeyAlgorithm;
use moorline_core::port::{ByteStream, LandingError, TunnelEnd};
use moorline_testkit::{Starved, patience};
use moorline_tunnel::TunnelConfig;
use moorline_tunnel::keyfile::PrivateKey;
use russh::{ChannelOpenFailure, Sig, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::support::{Rig, SOON, Seen, camera, config};

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(patience(SOON), future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// Waits until a channel was closed over a bound, and takes nothing of what it holds: that would make room.
async fn cut_off(stream: &mut ByteStream) {
    in_time("a channel over the bound", async {
        while stream.write(&[]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

// The first test of this package: it was sish's bug, and is every tunnel server's.
#[tokio::test]
async fn a_connection_that_drops_right_after_its_forward_leaves_no_route() {
    let (rig, key) = Rig::with_yard(config()).await;
    for nth in 0..20 {
        let client = Client::login(&rig, &key, "yard").await;
        let forwarding = client.handle.tcpip_forward("localhost", 0);
        if nth % 2 == 0 {
            forwarding.await.unwrap();
        } else {
            // Sent, not answered.
            let _ = tokio::time::timeout(Duration::from_millis(1), forwarding).await;
        }
        client.cut();
        drop(client);
    }
    let ups = rig.told("a tunnel", |seen| {
        let up = |seen: &&Seen| matches!(seen, Seen::Up(..));
        Some(seen.iter().filter(up).count()).filter(|ups| *ups >= 10)
    });
    ups.await;
    rig.told("an end for each tunnel", |seen| {
        let up = seen.iter().filter(|seen| matches!(seen, Seen::Up(..)));
        let ended = seen.iter().filter(|seen| matches!(seen, Seen::Ended(..)));
        (up.count() == ended.count()).then_some(())
    })
    .await;
    // The last one's forward may be read only now.
    moorline_testkit::eventually("no route is left", SOON, || async {
        (rig.connect("yard").await.err() == Some(LandingError::Away)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_signal_hup_and_closing_the_monitors_channel_are_hang_ups() {
    let (rig, key) = Rig::with_yard(config()).await;
    for nth in 0..2 {
        let mut client = Client::login(&rig, &key, "yard").await;
        client.handle.tcpip_forward("localhost", 0).await.unwrap();
        let session = rig.up(nth).await;
        let monitor = client.handle.channel_open_session().await.unwrap();
        monitor.exec(true, "anything").await.unwrap();
        rig.told("the monitor's channel", |seen| {
            seen.contains(&Seen::Opened(session)).then_some(())
        })
        .await;
        let (mut stream, channel) = client.stream(&rig).await;
        channel.close().await.unwrap();
        let mut all = Vec::new();
        in_time("the end of a closed channel", stream.read_to_end(&mut all))
            .await
            .unwrap();
        assert!(
            !rig.all()
                .iter()
                .any(|seen| matches!(seen, Seen::Ended(id, _) if *id == session))
        );
        if nth == 0 {
            monitor.signal(Sig::HUP).await.unwrap();
        } else {
            monitor.close().await.unwrap();
        }
        assert_eq!(rig.ended(session).await, TunnelEnd::HungUp);
        in_time("the end of the connection", client.wire)
            .await
            .unwrap();
        let ends = rig.all().into_iter();
        let ends = ends.filter(|seen| matches!(seen, Seen::Ended(id, _) if *id == session));
        assert_eq!(ends.count(), 1);
        assert!(rig.all().contains(&Seen::Closed(session)));
    }
}

#[tokio::test]
async fn a_signal_on_another_channel_or_another_signal_is_no_hang_up() {
    let (rig, key) = Rig::with_yard(config()).await;
    let client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let session = rig.up(0).await;
    let monitor = client.handle.channel_open_session().await.unwrap();
    monitor.exec(true, "x").await.unwrap();
    monitor.signal(Sig::TERM).await.unwrap();
    let other = client.handle.channel_open_session().await.unwrap();
    other.signal(Sig::HUP).await.unwrap();
    other.close().await.unwrap();
    monitor.data(&b"PONG 1\n"[..]).await.unwrap();
    rig.told("a line after the signals", |seen| {
        seen.contains(&Seen::Line(session, "PONG 1".to_owned()))
            .then_some(())
    })
    .await;
    assert!(!rig.all().iter().any(|seen| matches!(seen, Seen::Ended(..))));
}

#[tokio::test]
async fn a_stalled_reader_hurts_no_other_channel_and_hides_no_death() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let session = rig.up(0).await;
    let (_stalled, channel) = client.stream(&rig).await;
    let flood = vec![1; 3 << 20];
    in_time("3 MiB that nobody reads", channel.data(&flood[..]))
        .await
        .unwrap();
    let (mut read, channel) = client.stream(&rig).await;
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        channel.data(&vec![2; 1 << 20][..]).await.unwrap();
        channel
    });
    let mut all = vec![0; 1 << 20];
    in_time("1 MiB beside a stalled channel", read.read_exact(&mut all))
        .await
        .unwrap();
    println!("1 MiB beside a stalled channel: {:?}", start.elapsed());
    assert!(all.iter().all(|byte| *byte == 2));
    drop(sending.await.unwrap());
    client.cut();
    assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
}

/// S10.
#[tokio::test]
async fn a_channel_that_nobody_reads_is_closed_at_its_bound_and_the_session_lives() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let session = rig.up(0).await;
    let (mut stalled, mut channel) = client.stream(&rig).await;
    // More than a channel may hold, less than a session may.
    let flood = vec![1; 6 << 20];
    let sending = channel.make_writer();
    tokio::spawn(async move {
        let mut sending = sending;
        let _ = sending.write_all(&flood).await;
    });
    let closed = async {
        while let Some(message) = channel.wait().await {
            if matches!(message, russh::ChannelMsg::Close) {
                return;
            }
        }
    };
    in_time("the close of the channel", closed).await;
    let read = stalled.read(&mut [0; 10]).await;
    assert!(read.is_err(), "{read:?}");
    assert!(stalled.write_all(b"x").await.is_err());
    let (mut stream, channel) = client.stream(&rig).await;
    channel.data(&b"alive"[..]).await.unwrap();
    let mut room = [0; 5];
    in_time("another channel", stream.read_exact(&mut room))
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(200), rig.ended(session)).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// S10.
#[tokio::test]
async fn over_the_bound_of_the_session_the_fullest_channel_closes() {
    let config = TunnelConfig {
        queued_per_session: 5 << 20,
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let mut client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let (mut full, channel) = client.stream(&rig).await;
    in_time("3 MiB", channel.data(&vec![1; 3 << 20][..]))
        .await
        .unwrap();
    let (mut other, second) = client.stream(&rig).await;
    in_time("2.5 MiB more", second.data(&vec![2; 5 << 19][..]))
        .await
        .unwrap();
    cut_off(&mut full).await;
    let mut all = vec![0; 5 << 19];
    in_time("the emptier channel", other.read_exact(&mut all))
        .await
        .unwrap();
    assert!(all.iter().all(|byte| *byte == 2));
    let read = in_time("the fullest channel", full.read(&mut [0; 10])).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn s10_over_the_bound_of_all_the_fullest_channel_of_another_camera_closes() {
    // Of one tenant, whose bound it is; and of two, which have only the bound of all in common.
    for (other, config) in [
        (
            "shop",
            TunnelConfig {
                queued_per_tenant: 5 << 20,
                ..config()
            },
        ),
        (
            "acme/shop",
            TunnelConfig {
                queued: 5 << 20,
                ..config()
            },
        ),
    ] {
        let keys = [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap());
        let cameras = vec![
            camera("yard", &[keys[0].public()]),
            camera(other, &[keys[1].public()]),
        ];
        let rig = Rig::new(config, cameras).await;
        let mut yard = Client::login(&rig, &keys[0], "yard").await;
        yard.handle.tcpip_forward("localhost", 0).await.unwrap();
        let mut shop = Client::login(&rig, &keys[1], other).await;
        shop.handle.tcpip_forward("localhost", 0).await.unwrap();
        let (mut full, flooding) = yard.stream(&rig).await;
        in_time("3 MiB", flooding.data(&vec![1; 3 << 20][..]))
            .await
            .unwrap();
        let (mut modest, sending) = shop.stream_of(&rig, other).await;
        in_time("2.5 MiB more", sending.data(&vec![2; 5 << 19][..]))
            .await
            .unwrap();
        cut_off(&mut full).await;
        let mut all = vec![0; 5 << 19];
        in_time("the emptier camera", modest.read_exact(&mut all))
            .await
            .unwrap();
        assert!(all.iter().all(|byte| *byte == 2), "{other}");
        let read = in_time("the fullest channel", full.read(&mut [0; 10])).await;
        assert!(read.is_err(), "{other}: {read:?}");
        // Its session lives on: it is read anew.
        let (mut anew, channel) = yard.stream(&rig).await;
        channel.data(&b"alive"[..]).await.unwrap();
        in_time("another stream", anew.read_exact(&mut [0; 5]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_write_to_a_camera_that_reads_nothing_waits_and_ends_with_the_session() {
    let (rig, key) = Rig::with_yard(config()).await;
    let small = client::Config {
        window_size: 1 << 16,
        channel_buffer_size: 1,
        ..client::Config::default()
    };
    let mut client = Client::login_with(&rig, &key, "yard", small).await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    rig.up(0).await;
    let (mut stream, _unread) = client.stream(&rig).await;
    let mut writing = tokio::spawn(async move { stream.write_all(&vec![0; 8 << 20]).await });
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut writing).await;
    assert!(waited.is_err(), "8 MiB went into a window of 64 KiB");
    client.cut();
    let result = in_time("the end of the write", writing).await.unwrap();
    assert!(result.is_err());
}

#[tokio::test]
async fn channels_forwards_and_commands_are_few_and_unread_requests_block_nothing() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut client = Client::login(&rig, &key, "yard").await;
    let mut channels = Vec::new();
    for _ in 0..15 {
        channels.push(client.handle.channel_open_session().await.unwrap());
    }
    // Our own russh would stall on answers that nobody reads: it has the same trap.
    let (answers, asking) = channels.remove(0).split();
    drop(answers);
    for _ in 0..100 {
        asking.set_env(true, "LANG", "C").await.unwrap();
        asking.request_shell(true).await.unwrap();
    }
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let (_stream, _channel) = client.stream(&rig).await;
    let refused = client.handle.channel_open_session().await;
    assert!(
        matches!(
            refused,
            Err(russh::Error::ChannelOpenFailure(
                ChannelOpenFailure::ResourceShortage
            ))
        ),
        "{refused:?}"
    );
    assert_eq!(
        rig.connect("yard").await.err(),
        Some(LandingError::RefusedByCamera)
    );
    let closed = channels.pop().unwrap();
    closed.close().await.unwrap();
    in_time("room again", async {
        while client.handle.channel_open_session().await.is_err() {}
    })
    .await;
    client.handle.tcpip_forward("localhost", 80).await.unwrap();
    assert!(client.handle.tcpip_forward("localhost", 81).await.is_err());
    let opened = rig.all().into_iter();
    let opened = opened.filter(|seen| matches!(seen, Seen::Opened(_)));
    assert_eq!(opened.count(), 1, "one monitor's channel per session");
}

#[tokio::test]
async fn an_answer_after_the_deadline_ends_neither_the_session_nor_leaves_a_channel() {
    let config = TunnelConfig {
        // What is answered has to be in time on a loaded machine, too.
        open_deadline: Duration::from_secs(6),
        ..config()
    };
    let (rig, key) = Rig::with_yard(config).await;
    let mut client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let session = rig.up(0).await;
    for refuse in [true, false] {
        let late = rig.connect("yard").await.err();
        assert_eq!(late, Some(LandingError::RefusedByCamera));
        let (mut channel, reply) = client.offered().await;
        if refuse {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        } else {
            reply.accept().await;
            let closed = async {
                while let Some(message) = channel.wait().await {
                    if matches!(message, russh::ChannelMsg::Close) {
                        return;
                    }
                }
            };
            in_time("a late channel is closed", closed).await;
        }
    }
    let (mut stream, channel) = client.stream(&rig).await;
    channel.data(&b"alive"[..]).await.unwrap();
    in_time("a new stream", stream.read_exact(&mut [0; 5]))
        .await
        .unwrap();
    assert!(!rig.all().contains(&Seen::Ended(session, TunnelEnd::Lost)));
}

#[tokio::test]
async fn sessions_without_a_forward_supersede_nothing_and_are_four_at_most() {
    let (rig, key) = Rig::with_yard(config()).await;
    let mut tunnel = Client::login(&rig, &key, "yard").await;
    tunnel.handle.tcpip_forward("localhost", 0).await.unwrap();
    rig.up(0).await;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(Client::login(&rig, &key, "yard").await);
    }
    let oldest = idle.remove(0);
    in_time("the end of the oldest", oldest.wire).await.unwrap();
    for client in &idle {
        client.handle.channel_open_session().await.unwrap();
    }
    tunnel.stream(&rig).await;
}

#[tokio::test]
async fn a_monitor_without_room_ends_the_session_and_is_not_told_of_its_end() {
    let (rig, key) = Rig::with_yard(config()).await;
    rig.monitor.refuse.store(true, Ordering::SeqCst);
    let client = Client::login(&rig, &key, "yard").await;
    let _ = client.handle.tcpip_forward("localhost", 0).await;
    in_time("the end of the session", client.wire)
        .await
        .unwrap();
    assert_eq!(rig.all(), []);
}

#[tokio::test]
async fn a_disconnect_that_keeps_its_socket_open_is_lost_at_once() {
    let (rig, key) = Rig::with_yard(config()).await;
    let client = Client::connect(&rig, &key, "yard", client::Config::default(), true).await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let session = rig.up(0).await;
    let start = Instant::now();
    client
        .handle
        .disconnect(russh::Disconnect::ByApplication, "", "")
        .await
        .unwrap();
    assert_eq!(rig.ended(session).await, TunnelEnd::Lost);
    // Not by the keepalive, which would take a minute.
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn shutdown_ends_every_session_within_its_budget() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let other = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let cameras = vec![
        camera("yard", &[key.public()]),
        camera("gate", &[other.public()]),
    ];
    let rig = Rig::new(config(), cameras).await;
    let client = Client::login(&rig, &key, "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    let frozen = rig.dbclient(&other, "gate", &["-N", "-R", "0:127.0.0.1:1"], &[]);
    rig.up(1).await;
    frozen.freeze();
    let stranger = TcpStream::connect(rig.address).await.unwrap();
    rig.stop.cancel();
    let start = Instant::now();
    let shutdown = rig.tunnel.shutdown(SOON).await;
    assert!(start.elapsed() < SOON / 2, "{:?}", start.elapsed());
    assert_eq!(shutdown.left, 0, "{shutdown:?}");
    assert!(shutdown.sessions >= 2, "{shutdown:?}");
    let ends = rig.all().into_iter();
    assert_eq!(
        ends.filter(|seen| matches!(seen, Seen::Ended(..))).count(),
        2
    );
    drop(stranger);
}

#[tokio::test]
async fn a_paced_stop_ends_one_tunnel_after_the_other_and_strangers_at_once() {
    let keys: Vec<_> = (0..4)
        .map(|_| PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap())
        .collect();
    let cameras = (0_u8..)
        .zip(&keys)
        .map(|(number, key)| camera(&format!("cam-{number}"), &[key.public()]));
    let rig = Rig::new(config(), cameras.collect()).await;
    let mut clients = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let client = Client::login(&rig, key, &format!("cam-{number}")).await;
        client.handle.tcpip_forward("localhost", 0).await.unwrap();
        clients.push(client);
    }
    rig.up(3).await;
    rig.stop.cancel();
    let start = Instant::now();
    // Four at ten a second: the last one after three tenths.
    let paced = rig.tunnel.shutdown_paced(10, Duration::from_secs(20)).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((paced.sessions, paced.left), (4, 0));
    // More than fit into the budget end faster than asked.
    let rig = Rig::new(config(), vec![camera("yard", &[keys[0].public()])]).await;
    let client = Client::login(&rig, &keys[0], "yard").await;
    client.handle.tcpip_forward("localhost", 0).await.unwrap();
    rig.up(0).await;
    rig.stop.cancel();
    let (start, starved) = (Instant::now(), Starved::begin());
    rig.tunnel.shutdown_paced(1, Duration::from_secs(4)).await;
    assert!(start.elapsed() < Duration::from_secs(4) + starved.so_far());
}
