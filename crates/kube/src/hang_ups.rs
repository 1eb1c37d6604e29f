//! Hang-ups by order: whoever may change a Camera ends its tunnel, whichever replica holds it.
//!
//! ```text
//! camera hang-up ─▶ annotation moorline.dev/hang-up: "17" ─ watch ─▶ the replica that holds generation 17 ─▶ its monitor
//! ```
//! The order names the generation of the tunnel that it is for: the next tunnel has another one, so that an order is carried out once, however often and
//! late it is looked at, and nobody has to take it away. The monitor hears the generation too: a newer tunnel may come up while it is told.
//!
//! **Owns** the way from the resource to the monitor, and writes nothing. How it ends: with its token.

use std::collections::HashMap;
use std::sync::Arc;

use moorline_base::CancellationToken;
use moorline_core::{CameraId, Generation};

use crate::cache::{Cache, Known};
use crate::owned::{Own, Owned};
use crate::resource::HANG_UP_ANNOTATION;
use crate::wake::Touched;

/// Carries out the orders for what this replica holds.
#[derive(Debug, Clone)]
pub struct KubeHangUps {
    cache: Cache,
    owned: Owned,
}

impl KubeHangUps {
    /// By what the watch says of the cameras that this replica has claimed.
    pub fn new(cache: Cache, owned: Owned) -> Self {
        Self { cache, owned }
    }

    /// Calls `hang_up` for each order once, with the generation that it is for, until `cancel`.
    pub async fn run(
        &self,
        hang_up: impl Fn(&CameraId, Generation) + Send,
        cancel: CancellationToken,
    ) {
        let touched = Arc::new(Touched::default());
        self.cache.wakes().follow(&touched);
        self.owned.wakes().follow(&touched);
        // What was ordered before.
        touched.add_all();
        let mut obeyed: HashMap<CameraId, Generation> = HashMap::new();
        loop {
            let which = tokio::select! {
                () = cancel.cancelled() => return,
                which = touched.next() => which,
            };
            for (camera, own) in self.owned.among(which) {
                let generation = own.generation;
                if !self.is_ordered(&camera, &own)
                    || obeyed.insert(camera.clone(), generation) == Some(generation)
                {
                    continue;
                }
                tracing::info!(%camera, %generation, "its Camera says to hang up");
                hang_up(&camera, generation);
            }
            obeyed.retain(|camera, generation| {
                let own = self.owned.get(camera);
                own.is_some_and(|own| own.generation == *generation)
            });
        }
    }

    fn is_ordered(&self, camera: &CameraId, own: &Own) -> bool {
        let known = self.cache.camera_by_uid(camera, &own.uid);
        known.as_ref().and_then(ordered) == Some(own.generation)
    }
}

/// The generation whose tunnel is to end, if the resource names one.
fn ordered(known: &Known) -> Option<Generation> {
    let annotations = known.object.metadata.annotations.as_ref()?;
    let generation = annotations.get(HANG_UP_ANNOTATION)?.trim().parse().ok()?;
    Some(Generation(generation))
}
