{{- /* What the parts read. A rollout goes by this text alone (moorline.checksum): what shapes cameras' pods is not in it. */ -}}
{{- define "moorline.settings" -}}
[server]
public_host = {{ .Values.publicHost | quote }}
{{- with .Values.frontdoor.publicHost }}
public_viewer_host = {{ . | quote }}
{{- end }}
public_ssh_port = {{ .Values.mon.service.port }}
public_rtsp_port = {{ .Values.frontdoor.service.rtspPort }}
public_https_port = {{ .Values.frontdoor.service.httpsPort }}
listen_ssh = "0.0.0.0:2222"
listen_rtsp = "0.0.0.0:8554"
listen_https = "0.0.0.0:8443"
{{- if .Values.frontdoor.tlsSecret }}
tls_certificate = "/etc/moorline/public-tls/tls.crt"
tls_key = "/etc/moorline/public-tls/tls.key"
{{- end }}
listen_admin = "0.0.0.0:9464"
log = {{ .Values.log | quote }}

[tunnel]
grace = {{ .Values.cameras.grace | quote }}
{{- with .Values.cameras.uplink }}

[uplink]
percent = {{ .percent }}
after = {{ .after | quote }}
back = {{ .back | quote }}
{{- end }}

[archive]
store = "s3"

[s3]
endpoint = {{ .Values.store.endpoint | quote }}
region = {{ .Values.store.region | quote }}
bucket = {{ .Values.store.bucket | quote }}
path_style = {{ .Values.store.pathStyle }}
{{- if .Values.store.authority }}
authority = "/etc/moorline/config/store-ca.crt"
{{- end }}

[alert]
after = {{ .Values.alert.after | quote }}

[people]
store = {{ .Values.people.store | quote }}
{{- if eq .Values.people.store "postgres" }}

[postgres]
tls = {{ .Values.people.postgres.tls | quote }}
authority = {{ ternary "/etc/moorline/postgres/ca.crt" "" .Values.people.postgres.authority | quote }}
connections = {{ .Values.people.postgres.connections }}
{{- end }}

[cluster]
stop = "{{ sub .Values.mon.terminationGracePeriodSeconds 20 }}s"
camera_changes = {{ .Values.frontdoor.cameraChanges }}
release = {{ .Release.Name | quote }}
namespace = {{ .Release.Namespace | quote }}
gateway = {{ include "moorline.gateway" . | quote }}
peers = {{ printf "%s-mon-peers.%s.svc:8443" .Release.Name .Release.Namespace | quote }}
signer = {{ include "moorline.signer" . | quote }}
store_put = {{ ternary "moorline-store-put" "" .Values.tenants.ownStores.enabled | quote }}
store_get = {{ ternary "moorline-store-get" "" .Values.tenants.ownStores.enabled | quote }}
store_delete = {{ ternary "moorline-store-delete" "" .Values.tenants.ownStores.enabled | quote }}
store_private = {{ .Values.tenants.ownStores.private | toJson }}
store_http = {{ .Values.tenants.ownStores.http }}
dns = {{ .Values.networkPolicies.dns | toJson | quote }}
sweeper = {{ ne .Values.sweeper.secret "" }}
sweep_every = {{ .Values.sweeper.every | quote }}
sweep_pace = {{ .Values.sweeper.pace }}
frontdoor_account = {{ printf "%s-frontdoor" .Release.Name | quote }}
{{- end }}
