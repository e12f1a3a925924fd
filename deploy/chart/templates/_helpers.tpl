{{- /* What every template does first, since any may be the first. A section that is null is an empty one: Helm takes it away from the
       defaults. A switch may be the text "true" or "false", as --set-string writes it; text would count as true, whatever it says.
       What can be neither empty nor left out is required by values.schema.json. */}}
{{- define "efs.prepare" -}}
{{- $v := .Values }}
{{- $sections := list
  (list $v "endpointUrls" list)
  (list $v "tlsCa" list)
  (list $v "networkPolicy" (list "enabled"))
  (list $v "csiDriver" list)
  (list $v "fake-efs" (list "enabled"))
  (list $v.sidecars "livenessProbe" (list "enabled"))
  (list $v.sidecars "nodeDriverRegistrar" (list "enabled"))
  (list $v.sidecars "csiResizer" (list "enabled"))
  (list $v.controller "serviceMonitor" (list "enabled"))
  (list $v.controller "serviceAccount" (list "create"))
  (list $v.controller "podDisruptionBudget" (list "enabled"))
  (list $v.controller "fileSystemIdRefs" (list "enabled"))
  (list $v.node "serviceAccount" (list "create" "disableMutation" "readServiceAccounts"))
  (list $v.node "podMonitor" (list "enabled"))
  (list $v.node "tunnel" (list "enabled"))
  (list $v.node "events" (list "enabled"))
  (list $v "controller" (list "create" "enableMetrics" "enablePrometheusAnnotations" "extraCreateMetadata"
    "deleteAccessPointRootDir" "hostNetwork" "regionalStsEndpoints"))
  (list $v "node" (list "volMetricsOptIn" "maxInflightMountCallsOptIn" "volumeAttachLimitOptIn" "forceUnmountAfterTimeout"
    "efsCloudWatchLogEnabled" "s3filesCloudWatchLogEnabled" "s3filesCloudWatchMetricsEnabled"))
}}
{{- range $sections }}
{{- $parent := index . 0 }}
{{- $name := index . 1 }}
{{- if not (get $parent $name) }}{{ $_ := set $parent $name dict }}{{ end }}
{{- range index . 2 }}{{ $_ := set (get $parent $name) . (eq (toString (get (get $parent $name) .)) "true") }}{{ end }}
{{- end }}
{{- range list "useFIPS" "debugLogs" "adaptiveRetryMode" "useHelmHooksForCSIDriver" }}{{ $_ := set $v . (eq (toString (get $v .)) "true") }}{{ end }}
{{- end }}

{{- /* How node pods are replaced. Kubernetes wants one of the two numbers to be 0 and takes 0 and 1 for those that are left out, so whoever
       gives one of them gets the other one to go with it. `.surge` says whether two pods can be on a node at once. */}}
{{- define "efs.nodeRollingUpdate" -}}
{{- $given := dict }}
{{- range $key, $value := (default dict .given) }}{{ if not (kindIs "invalid" $value) }}{{ $_ := set $given $key $value }}{{ end }}{{ end }}
{{- $surges := not (regexMatch "^(<nil>|0+%?)?$" (toString (get $given "maxSurge"))) }}
{{- $isUnavailable := not (regexMatch "^(<nil>|0+%?)?$" (toString (get $given "maxUnavailable"))) }}
{{- $strategy := dict }}
{{- if $surges }}{{ $strategy = merge (dict) $given (dict "maxUnavailable" 0) }}
{{- else if $isUnavailable }}{{ $strategy = $given }}
{{- else if hasKey $given "maxSurge" }}{{ $strategy = $given }}
{{- else if .surge }}{{ $strategy = dict "maxSurge" 1 "maxUnavailable" 0 }}
{{- end }}
{{- $isNothing := and (not $surges) (not $isUnavailable) (hasKey $given "maxUnavailable") (or (hasKey $given "maxSurge") (not .surge)) }}
{{- toYaml (dict "strategy" $strategy "surges" $surges "isUnavailable" $isUnavailable "isNothing" $isNothing) }}
{{- end }}

{{- define "efs.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "efs.labels" -}}
app.kubernetes.io/name: {{ include "efs.name" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The labels that pods are selected by. The Go driver's, since a selector can't be changed in place. */}}
{{- define "efs.selectorLabels" -}}
app: {{ .app }}
app.kubernetes.io/name: {{ include "efs.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- /* Is image.repository the Go driver's image? Only this driver's own program understands this chart's arguments. */}}
{{- define "efs.namesGoDriver" -}}
{{- if eq (.Values.image.repository | splitList "/" | last) "aws-efs-csi-driver" }}true{{ end }}
{{- end }}

{{- define "efs.image" -}}
{{- if include "efs.namesGoDriver" . -}}
efs-csi-driver:{{ .Chart.AppVersion }}
{{- else if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "efs.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A value as text. Helm reads whole numbers as floating-point ones, and would print a million as 1e+06; of more than 15 digits
       it loses some. */}}
{{- define "efs.text" -}}
{{- if kindIs "float64" . }}
{{- if or (gt . 999999999999999.0) (lt . -999999999999999.0) }}{{ fail (printf "%.0f was read as a number, with some of its digits lost; quote it" .) }}{{ end }}
{{- if eq (floor .) . }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- else }}{{ toString . }}{{ end }}
{{- end }}

{{- /* Permissions as text. Without quotes, YAML reads 0700 as the number 448 and 01000 as 512; nobody can tell what was written. */}}
{{- define "efs.permissions" -}}
{{- if not (kindIs "string" .) }}
{{- fail (printf "storageClasses[].parameters.directoryPerms: %s was read as a number; quote it (\"0755\")" (include "efs.text" .)) }}
{{- end }}
{{- . }}
{{- end }}

{{- /* The suffix of DNS names in a region, as the driver has it (efs/endpoints.rs). */}}
{{- define "efs.dnsSuffix" -}}
{{- if hasPrefix "cn-" . }}amazonaws.com.cn
{{- else if hasPrefix "us-iso-" . }}c2s.ic.gov
{{- else if hasPrefix "us-isob-" . }}sc2s.sgov.gov
{{- else if hasPrefix "us-isof-" . }}csp.hci.ic.gov
{{- else if hasPrefix "eu-isoe-" . }}cloud.adc-e.uk
{{- else if hasPrefix "eusc-" . }}amazonaws.eu
{{- else }}amazonaws.com
{{- end }}
{{- end }}

{{- /* "key:value key:value" of the tags flag. A value that has a backslash was escaped by its author. */}}
{{- define "efs.tags" -}}
{{- $tags := list }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $pair := list }}
{{- range $part := list $key (include "efs.text" $value) }}
{{- if not (contains "\\" $part) }}
{{- $part = $part | replace ":" "\\:" | replace " " "\\ " }}
{{- end }}
{{- $pair = append $pair $part }}
{{- end }}
{{- $tags = append $tags (join ":" $pair) }}
{{- end }}
{{- end }}
{{- join " " $tags }}
{{- end }}

{{- /* A probe, the port name "healthz" replaced by its number: pods on the host's network that name a port could not start
       beside their predecessor during an update. */}}
{{- define "efs.probe" -}}
{{- $probe := deepCopy .probe }}
{{- $port := .port }}
{{- /* A probe asks in one way; Helm merges the user's with the chart's command. */}}
{{- if or $probe.httpGet $probe.tcpSocket $probe.grpc }}{{ $_ := unset $probe "exec" }}{{ end }}
{{- range $kind := list "httpGet" "tcpSocket" }}
{{- with get $probe $kind }}
{{- if eq (toString .port) "healthz" }}{{ $_ := set . "port" $port }}{{ end }}
{{- end }}
{{- end }}
{{- toYaml $probe }}
{{- end }}

{{- define "efs.probes" -}}
{{- $port := .port }}
{{- range $name := list "livenessProbe" "readinessProbe" "startupProbe" }}
{{- with get $.values $name }}
{{ $name }}:
  {{- include "efs.probe" (dict "probe" . "port" $port) | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Region and zone are the fake's where the fake is. */}}
{{- define "efs.region" -}}
{{ .Values.region | default (ternary (index .Values "fake-efs").region "" (index .Values "fake-efs").enabled) }}
{{- end }}
{{- define "efs.availabilityZone" -}}
{{ .Values.availabilityZone | default (ternary (index .Values "fake-efs").availabilityZone "" (index .Values "fake-efs").enabled) }}
{{- end }}

{{- /* Arguments that both workloads have. */}}
{{- define "efs.commonArgs" -}}
{{- with include "efs.region" . }}
- --region={{ . }}
{{- end }}
{{- with include "efs.availabilityZone" . }}
- --availability-zone={{ . }}
{{- end }}
{{- if ne (int .Values.mountTargetPort) 2049 }}
- --mount-target-port={{ .Values.mountTargetPort }}
{{- end }}
{{- if include "efs.tlsCaVolume" . }}
- --tls-ca-file=/etc/efs-csi-driver/tls/{{ .Values.tlsCa.key }}
{{- end }}
- --adaptive-retry-mode={{ .Values.adaptiveRetryMode }}
- --log-format={{ .Values.logFormat }}
{{- if .Values.debugLogs }}
- --debug-logs=true
{{- end }}
{{- end }}

{{- /* Environment that both workloads have. */}}
{{- define "efs.commonEnv" -}}
- name: CSI_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: PORT_RANGE_UPPER_BOUND
  value: {{ .Values.portRangeUpperBound | quote }}
{{- if .Values.useFIPS }}
- name: AWS_USE_FIPS_ENDPOINT
  value: "true"
{{- end }}
{{- $fake := index .Values "fake-efs" }}
{{- if $fake.enabled }}
{{- /* The kubelet puts a Service's address into the environment: pods on the host's network can't ask the cluster's DNS. */}}
{{- $prefix := $fake.name | upper | replace "-" "_" }}
- name: AWS_ENDPOINT_URL
  value: http://$({{ $prefix }}_SERVICE_HOST):$({{ $prefix }}_SERVICE_PORT)
- name: AWS_ACCESS_KEY_ID
  value: AKIAIOSFODNN7EXAMPLE
- name: AWS_SECRET_ACCESS_KEY
  value: not-a-secret
{{- end }}
{{- with .Values.endpointUrls.efs }}
- name: AWS_ENDPOINT_URL_EFS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.endpointUrls.sts }}
- name: AWS_ENDPOINT_URL_STS
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* The volume with the certificate authority of the mount targets; empty where Amazon's own roots are to be used. */}}
{{- define "efs.tlsCaVolume" -}}
{{- if .Values.tlsCa.configMapName }}
configMap:
  name: {{ .Values.tlsCa.configMapName }}
{{- else if .Values.tlsCa.secretName }}
secret:
  secretName: {{ .Values.tlsCa.secretName }}
  items:
    - key: {{ .Values.tlsCa.key }}
      path: {{ .Values.tlsCa.key }}
{{- else if (index .Values "fake-efs").enabled }}
secret:
  secretName: {{ (index .Values "fake-efs").name }}-ca
  items:
    - key: tls.crt
      path: {{ .Values.tlsCa.key }}
{{- end }}
{{- end }}

{{- define "efs.sidecarImage" -}}
{{ .image.repository }}:{{ .image.tag }}
{{- end }}
