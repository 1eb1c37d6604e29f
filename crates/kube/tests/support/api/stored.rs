//! How an object is stored: each change has its version and is told to the watches, and a finalizer keeps what was deleted.

use serde_json::{Value, json};

use super::{Key, State};

impl State {
    pub(super) fn store(&mut self, key: &Key, event: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if event == "ADDED" && key.0.ends_with("/resourcequotas") {
            self.count(&mut object);
        }
        self.objects.insert(key.clone(), object.clone());
        self.history
            .push_back((self.version, key.clone(), event, object.clone()));
        object
    }

    /// As the quota controller looks at a quota once, when it is made.
    fn count(&self, quota: &mut Value) {
        let hard = quota["spec"]["hard"].clone();
        let known = hard
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !(self.cameras_unknown && name.starts_with("count/cameras")));
        let used: Value = known.map(|(name, _)| (name.clone(), json!("0"))).collect();
        quota["status"] = json!({"hard": hard, "used": used});
    }

    /// Stores it, or takes it away if it was only kept by a finalizer that is gone.
    pub(super) fn settle(&mut self, key: &Key, object: Value) -> Value {
        let metadata = &object["metadata"];
        let kept = metadata["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if !metadata["deletionTimestamp"].is_null() && !kept {
            self.objects.insert(key.clone(), object.clone());
            self.drop(key);
            return object;
        }
        self.store(key, "MODIFIED", object)
    }

    pub(super) fn drop(&mut self, key: &Key) {
        if let Some(mut object) = self.objects.remove(key) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.history
                .push_back((self.version, key.clone(), "DELETED", object));
        }
    }
}
