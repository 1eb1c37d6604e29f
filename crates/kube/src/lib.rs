//! Cameras as Kubernetes resources: the only user of kube and k8s-openapi.
