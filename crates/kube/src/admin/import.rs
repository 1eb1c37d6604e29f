//! Makes many cameras, all or none.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use moorline_core::camera::Camera;
use moorline_core::port::{CameraAdminError, ImportError};
use moorline_core::{CameraId, PublicKey};

use super::KubeAdmin;
use crate::call::Fault;

/// So many cameras of an import are tried at once.
const TRIED_TOGETHER: usize = 8;

impl KubeAdmin {
    /// Makes all of these cameras, or none: what would be refused is asked first, and where one cannot be made those before it are taken back.
    pub(super) async fn make_all(
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
        let mut made = Vec::with_capacity(cameras.len());
        for (at, camera) in cameras.iter().enumerate() {
            match self.make(camera).await {
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

/// What is told of a camera that could not be taken back.
fn stays((at, fault): (usize, Fault)) -> (usize, CameraAdminError) {
    let words = format!("it was added, and is not taken back ({fault}): remove it");
    (at, CameraAdminError::Unavailable(words))
}
