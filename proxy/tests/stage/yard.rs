//! The landings: cameras that come, go, and come back under a newer generation.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use moorline_base::CancellationToken;
use moorline_core::id::ForwardName;
use moorline_core::port::{ByteStream, LandingError, Landings};
use moorline_core::{CameraId, Generation};
use tokio::sync::watch;

use super::camera::{self, Script};

#[derive(Clone)]
enum What {
    Script(Script),
    Address(SocketAddr),
    Refuses,
}

#[derive(Clone)]
struct Present {
    generation: Generation,
    what: What,
    gone: CancellationToken,
}

#[derive(Default)]
pub struct Yard {
    present: Mutex<HashMap<CameraId, Present>>,
    generations: Mutex<HashMap<CameraId, u64>>,
    version: watch::Sender<u64>,
    /// What was connected to, in order.
    pub forwards: Mutex<Vec<String>>,
    /// How often a camera was connected to.
    pub connects: AtomicUsize,
}

impl Yard {
    fn put(&self, camera: &CameraId, what: What) -> u64 {
        let generation = {
            let mut generations = self.generations.lock().unwrap();
            let generation = generations.entry(camera.clone()).or_default();
            *generation += 1;
            *generation
        };
        let present = Present {
            generation: Generation(generation),
            what,
            gone: CancellationToken::new(),
        };
        if let Some(older) = self.present.lock().unwrap().insert(camera.clone(), present) {
            older.gone.cancel();
        }
        self.version.send_modify(|version| *version += 1);
        generation
    }

    /// A camera's tunnel comes up; the generation.
    pub fn up(&self, name: &str, script: Script) -> u64 {
        self.put(&super::id(name), What::Script(script))
    }

    /// The same for a server that listens somewhere.
    pub fn up_at(&self, name: &str, address: SocketAddr) -> u64 {
        self.put(&super::id(name), What::Address(address))
    }

    /// A tunnel behind which nothing listens.
    pub fn up_refusing(&self, name: &str) -> u64 {
        self.put(&super::id(name), What::Refuses)
    }

    /// The tunnel is lost, with all streams through it.
    pub fn lose(&self, name: &str) {
        if let Some(present) = self.present.lock().unwrap().remove(&super::id(name)) {
            present.gone.cancel();
        }
    }

    pub fn generation(&self, camera: &CameraId) -> Generation {
        Generation(
            self.generations
                .lock()
                .unwrap()
                .get(camera)
                .copied()
                .unwrap_or(0),
        )
    }

    async fn until_present(&self, camera: &CameraId, least: Generation) -> Present {
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            let present = self.present.lock().unwrap().get(camera).cloned();
            if let Some(present) = present.filter(|present| present.generation >= least) {
                return present;
            }
            version.changed().await.expect("the yard is there");
        }
    }
}

#[async_trait]
impl Landings for Yard {
    async fn connect(
        &self,
        camera: &CameraId,
        forward: &ForwardName,
        least: Generation,
    ) -> Result<(ByteStream, Generation), LandingError> {
        let waiting = self.until_present(camera, least);
        let present = tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .map_err(|_| LandingError::Away)?;
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.forwards
            .lock()
            .expect("no panic")
            .push(forward.to_string());
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let gone = present.gone.clone();
        match present.what {
            What::Refuses => return Err(LandingError::RefusedByCamera),
            What::Script(script) => {
                tokio::spawn(async move {
                    tokio::select! {
                        () = gone.cancelled() => (),
                        () = camera::serve(ours, script) => (),
                    }
                });
            }
            What::Address(address) => {
                tokio::spawn(async move {
                    let mut ours = ours;
                    let Ok(mut there) = tokio::net::TcpStream::connect(address).await else {
                        return;
                    };
                    tokio::select! {
                        () = gone.cancelled() => (),
                        _ = tokio::io::copy_bidirectional(&mut ours, &mut there) => (),
                    }
                });
            }
        }
        Ok((Box::new(theirs), present.generation))
    }
}
