{{- define "moorline.keys" -}}{{ .Values.keys | default .Release.Name }}{{- end }}
{{- define "moorline.image" -}}{{ .Values.image.name }}{{ with .Values.image.tag }}:{{ . }}{{ end }}{{- end }}
{{- define "moorline.gateway" -}}{{ .Release.Name }}-mon.{{ .Release.Namespace }}.svc:8443{{- end }}
{{- define "moorline.workloadPriority" -}}{{ .Release.Name }}-workloads{{- end }}
{{- define "moorline.signer" -}}{{ .Release.Name }}-signer.{{ .Release.Namespace }}.svc:8444{{- end }}

{{- /* The Secrets without which a pod does not start, as a JSON array. */ -}}
{{- define "moorline.secrets" -}}
{{- $names := list .Values.store.secret }}
{{- range list "host-keys" "known-hosts" "mon-tls" "signer-tls" "ticket-key" "tickets" }}
{{- $names = append $names (printf "%s-%s" (include "moorline.keys" $) .) }}
{{- end }}
{{- if .Values.frontdoor.enabled }}
{{- $names = append $names .Values.store.readSecret }}
{{- if eq .Values.people.store "postgres" }}
{{- $names = concat $names (list .Values.people.postgres.secret (printf "%s-people" (include "moorline.keys" .))) }}
{{- end }}
{{- $names = append $names .Values.frontdoor.tlsSecret }}
{{- end }}
{{- concat $names (list .Values.sweeper.secret .Values.alert.environmentSecret) | compact | uniq | toJson }}
{{- end }}

{{- define "moorline.labels" -}}
app.kubernetes.io/name: moorline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* Of a pod: what tells versions is left out, so that a newer chart alone restarts nothing. */ -}}
{{- define "moorline.podLabels" -}}
app.kubernetes.io/name: moorline
{{ include "moorline.selector" . }}
{{- end }}

{{- define "moorline.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* PodSecurity restricted, for a pod and its one container. */ -}}
{{- define "moorline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "moorline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of each of the installation's own pods. With "moves" a successor takes its place soon after its node is lost. Not mon's: a pod of a StatefulSet
has none before its node is back or removed, and serves on where it was only cut off. */ -}}
{{- define "moorline.placement" -}}
{{- $values := .root.Values -}}
enableServiceLinks: false
priorityClassName: {{ .root.Release.Name }}-parts
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .moves $values.tolerations }}
tolerations:
  {{- if .moves }}
  # Without these a lost node would keep the pod for five minutes.
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  {{- end }}
  {{- with $values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Replicas on different nodes, where there are some. */ -}}
{{- define "moorline.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "moorline.selector" . | nindent 8 }}
{{- end }}

{{- /* A process that stands still hears no SIGTERM, so that the pod's own grace would only keep its place empty: mon's is minutes. */ -}}
{{- define "moorline.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: admin}, periodSeconds: 1, failureThreshold: 90}
readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: 3, timeoutSeconds: 3, failureThreshold: 2}
livenessProbe: {httpGet: {path: /healthz, port: admin}, periodSeconds: 10, timeoutSeconds: 10, failureThreshold: 6, terminationGracePeriodSeconds: 15}
{{- end }}

{{- /* A rollout when the settings change. */ -}}
{{- define "moorline.checksum" -}}checksum/config: {{ include "moorline.settings" . | sha256sum }}{{- end }}

{{- /* Of the parts that speak to stores: also when the authority of these changes. */ -}}
{{- define "moorline.storeChecksum" -}}
{{ include "moorline.checksum" . }}
{{- with .Values.store.authority }}
checksum/store-authority: {{ sha256sum . }}
{{- end }}
{{- end }}

{{- define "moorline.account" -}}system:serviceaccount:{{ .root.Release.Namespace }}:{{ .root.Release.Name }}-{{ .part }}{{- end }}

{{- /* A ValidatingAdmissionPolicy up to its spec, and its binding, which denies. */ -}}
{{- define "moorline.policy" }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "moorline.labels" (dict "root" .root "component" "policy") | nindent 4 }}
{{- end }}
{{- define "moorline.binding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "moorline.labels" (dict "root" .root "component" "policy") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{- /* Metrics name tenants and cameras: whoever collects them reads them, and nobody else (rule S34). Nodes always reach their own pods. */ -}}
{{- define "moorline.scrapers" }}
{{- with .Values.networkPolicies.monitoring }}
- ports: [{port: admin}]
  from: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{- /* The public Internet, as peers of a NetworkPolicy: what a call that somebody else aims may reach (rule S17), so not the inside of a cluster, its nodes
and the metadata service of a cloud. */ -}}
{{- define "moorline.public" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3]
- ipBlock: {cidr: "2000::/3"}
{{- end }}

{{- /* How the installation's bucket is reached: by the port of its endpoint, as archivers do, since its addresses are not known here and change. */ -}}
{{- define "moorline.toStore" -}}
{{- with .Values.networkPolicies.store }}
{{- toYaml . }}
{{- else }}
{{- $endpoint := .Values.store.endpoint }}
{{- $named := regexFind ":[0-9]+$" (urlParse $endpoint).host | trimPrefix ":" -}}
- ports: [{protocol: TCP, port: {{ $named | default (ternary "80" "443" (hasPrefix "http://" $endpoint)) }}}]
{{- end }}
{{- end }}

{{- /* How the parts with a store key come to stores: that one, and tenants' own where they may lie (rule S17), at any port. */ -}}
{{- define "moorline.toStores" -}}
{{- include "moorline.toStore" . }}
{{- if .Values.tenants.ownStores.enabled }}
- ports: [{protocol: TCP}]
  to:
    {{- include "moorline.public" . | nindent 4 }}
    {{- range .Values.tenants.ownStores.private }}
    - ipBlock: {cidr: {{ contains "/" . | ternary . (printf "%s/%s" . (contains ":" . | ternary "128" "32")) | quote }}}
    {{- end }}
{{- end }}
{{- end }}
