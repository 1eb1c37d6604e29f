//! Makes many cameras, all or none.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use moorline_base::CancellationToken;
use moorline_core::camera::Camera;
use moorline_core::port::{CameraAdminError, ImportError, PortError};
use moorline_core::{CameraId, PublicKey};

use super::{KubeAdmin, OPERATION};
use crate::call::Fault;

/// So many cameras of an import are tried at once.
const TRIED_TOGETHER: usize = 8;

impl KubeAdmin {
    /// Makes all of these cameras, or none: what would be refused is asked first, and where one cannot be made those before it are taken back.
    pub(super) async fn import_all(
        &self,
        mut cameras: Vec<Camera>,
        dry_run: bool,
    ) -> Result<(), ImportError> {
        let wrong = self.look_at(&mut cameras).await;
        if !wrong.is_empty() {
            return Err(ImportError::Cameras(wrong));
        }
        if dry_run {
            return Ok(());
        }
        let making = move |admin: Self, broken: CancellationToken| async move {
            admin.make_all(&cameras, &broken).await
        };
        self.whole(making).await?
    }

    /// Makes several cameras, whatever becomes of the caller: one that goes away (a browser that disconnects) breaks it off, and leaves no half of them.
    pub(crate) async fn whole<T, F>(
        &self,
        making: impl FnOnce(Self, CancellationToken) -> F,
    ) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let broken = self.broken.child_token();
        let _caller = broken.clone().drop_guard();
        let making = self.making.spawn(making(self.clone(), broken));
        making
            .await
            .map_err(|error| PortError::new(OPERATION, error))
    }

    /// The cameras of an import, of which each was looked at.
    async fn make_all(
        &self,
        cameras: &[Camera],
        broken: &CancellationToken,
    ) -> Result<(), ImportError> {
        let mut made = Vec::with_capacity(cameras.len());
        for (at, camera) in cameras.iter().enumerate() {
            let one = match broken.is_cancelled() {
                true => Err(broken_off()),
                false => self.make(camera).await,
            };
            match one {
                Ok(one) => made.push(one),
                Err(error) => {
                    let left = self.unmake(&made).await;
                    let mut wrong: Vec<_> = left.into_iter().map(stays).collect();
                    wrong.push((at, error));
                    return Err(ImportError::Cameras(wrong));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with which of several new cameras: first as far as it shows here, then in the words of the API server, which makes none of them yet.
    async fn look_at(&self, cameras: &mut [Camera]) -> Vec<(usize, CameraAdminError)> {
        let mut wrong = Vec::new();
        let mut names = BTreeSet::new();
        let mut keys: BTreeMap<PublicKey, CameraId> = BTreeMap::new();
        for (at, camera) in cameras.iter_mut().enumerate() {
            let mut looked = match names.insert(camera.id.clone()) {
                true => self.prepare(camera),
                false => Err(CameraAdminError::Exists(camera.id.clone())),
            };
            if looked.is_ok() {
                looked = camera.keys.iter().try_for_each(|key| {
                    let known = keys.entry(key.key.clone());
                    let owner = known.or_insert_with(|| camera.id.clone());
                    if *owner == camera.id {
                        return Ok(());
                    }
                    Err(CameraAdminError::KeyTaken {
                        fingerprint: key.key.fingerprint(),
                        owner: format!("camera {owner} of the same list"),
                    })
                });
            }
            wrong.extend(looked.err().map(|error| (at, error)));
        }
        let places: BTreeSet<usize> = wrong.iter().map(|(at, _)| *at).collect();
        let mut tried = Vec::new();
        for (at, camera) in cameras.iter().enumerate() {
            if !places.contains(&at) {
                let (this, camera) = (self.clone(), camera.clone());
                tried.push(async move { (at, this.would_be_made(&camera).await) });
            }
        }
        let tried: Vec<_> = stream::iter(tried).buffered(TRIED_TOGETHER).collect().await;
        wrong.extend(
            tried
                .into_iter()
                .filter_map(|(at, tried)| Some((at, tried.err()?))),
        );
        wrong.sort_by_key(|(at, _)| *at);
        wrong
    }
}

/// Why the cameras from here on were not made.
pub(crate) fn broken_off() -> CameraAdminError {
    CameraAdminError::Refused("it was broken off".into())
}

/// What is told of a camera that could not be taken back.
fn stays((at, fault): (usize, Fault)) -> (usize, CameraAdminError) {
    let words = format!("it was added, and is not taken back ({fault}): remove it");
    (at, CameraAdminError::Unavailable(words))
}
