use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use super::{Camera, CameraClass, Tenant};

/// Says where the file comes from.
const NOTE: &str = "# Generated from Rust by `cargo xtask generate`; do not edit.\n";

/// The three definitions as `(file name, YAML)`, the same bytes each time. Uninstalling the chart keeps them, and with them the cameras.
///
/// # Errors
/// The YAML emitter's, which would be a bug of these types.
pub fn definitions() -> Result<Vec<(&'static str, String)>, String> {
    [
        ("cameras.yaml", Camera::crd()),
        ("cameraclasses.yaml", CameraClass::crd()),
        ("tenants.yaml", Tenant::crd()),
    ]
    .into_iter()
    .map(|(name, definition)| Ok((name, render(definition)?)))
    .collect()
}

fn render(mut definition: CustomResourceDefinition) -> Result<String, String> {
    definition
        .metadata
        .annotations
        .get_or_insert_default()
        .insert("helm.sh/resource-policy".into(), "keep".into());
    // By way of a JSON value: its maps are sorted, and the emitter sees plain values.
    let value = serde_json::to_value(&definition).map_err(|error| error.to_string())?;
    let yaml = serde_saphyr::to_string(&value).map_err(|error| error.to_string())?;
    Ok(format!("{NOTE}{}\n", yaml.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_the_same_each_time_and_no_template_of_helm() {
        let all = definitions().unwrap();
        assert_eq!(all, definitions().unwrap());
        for (name, yaml) in &all {
            assert!(!yaml.contains("{{"), "{name} would be read as a template");
            let back: CustomResourceDefinition = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(back.spec.group, "moorline.dev");
            assert!(yaml.contains("helm.sh/resource-policy: keep"), "{name}");
        }
    }

    /// The second row is that of `-o wide`.
    #[test]
    fn a_list_of_cameras_shows_who_holds_each_and_whether_it_records() {
        let camera = Camera::crd();
        let columns = camera.spec.versions[0].additional_printer_columns.iter();
        let columns: Vec<_> = columns.flatten().collect();
        let of = |wide: bool| -> Vec<&str> {
            let columns = columns.iter();
            let shown = columns.filter(|column| (column.priority.unwrap_or(0) > 0) == wide);
            shown.map(|column| column.name.as_str()).collect()
        };
        assert_eq!(of(false), ["READY", "MON", "ARCHIVING", "SINCE", "AGE"]);
        assert_eq!(of(true), ["GENERATION", "ADDRESS", "PEER"]);
    }

    #[test]
    fn a_camera_is_found_by_its_holder_and_its_generation_is_fenced() {
        let camera = Camera::crd();
        let version = &camera.spec.versions[0];
        let selectable = version.selectable_fields.as_ref().unwrap();
        assert_eq!(selectable[0].json_path, ".status.session.mon");
        assert_eq!(camera.spec.names.short_names, Some(vec!["cam".to_owned()]));
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let schema = version.schema.as_ref().unwrap();
        let rules = schema
            .open_api_v3_schema
            .as_ref()
            .unwrap()
            .x_kubernetes_validations
            .as_ref()
            .unwrap();
        assert!(
            rules
                .iter()
                .any(|rule| rule.rule.contains("oldSelf.status.session.generation"))
        );
    }
}
