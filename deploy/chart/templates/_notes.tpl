{{- /* Values that were set, or kept from the Go driver's chart, and that don't do here what they did there. */}}
{{- define "efs.notes" -}}
{{- $notes := list }}
{{- $c := .Values.controller }}
{{- $n := .Values.node }}
{{- if include "efs.namesGoDriver" . }}
{{- $notes = append $notes (printf "image.repository %q is the Go driver's image. %s is used, image.tag and image.digest are ignored; set image.repository to your copy of this driver's image." .Values.image.repository (include "efs.image" .)) }}
{{- end }}
{{- if or (default dict $c.containerSecurityContext).privileged (eq (toString (default dict $c.securityContext).runAsUser) "0") }}
{{- $notes = append $notes "controller.securityContext and controller.containerSecurityContext give the controller root or privilege, which it doesn't need. Remove them from your values." }}
{{- end }}
{{- if $c.regionalStsEndpoints }}
{{- $notes = append $notes "controller.regionalStsEndpoints is set, but regional STS endpoints are always used." }}
{{- end }}
{{- if $n.efsUtilsConfOverrides }}
{{- $notes = append $notes "node.efsUtilsConfOverrides: region, port range, stunnel_cafile, certificate renewal interval and client source count; other settings steer efs-utils, which this driver doesn't have, and are noted in the driver's log." }}
{{- end }}
{{- if $n.s3filesUtilsConfOverrides }}
{{- $notes = append $notes "node.s3filesUtilsConfOverrides is checked for its form and otherwise ignored: this driver has no efs-utils." }}
{{- end }}
{{- if or $n.efsCloudWatchLogEnabled $n.s3filesCloudWatchLogEnabled $n.s3filesCloudWatchMetricsEnabled }}
{{- $notes = append $notes "node.efsCloudWatchLogEnabled, node.s3filesCloudWatchLogEnabled and node.s3filesCloudWatchMetricsEnabled have no effect: they are settings of efs-utils. Use the driver's own metrics and logs." }}
{{- end }}
{{- if $n.forceUnmountAfterTimeout }}
{{- $notes = append $notes "node.forceUnmountAfterTimeout is always on in this driver; node.unmountTimeout says after how long." }}
{{- end }}
{{- if .Values.fullnameOverride }}
{{- $notes = append $notes "fullnameOverride has no effect, as in the Go driver's chart: object names are fixed." }}
{{- end }}
{{- if $notes }}

Notes on your values:
{{- range $notes }}
  - {{ . }}
{{- end }}
{{- end }}
{{- end }}
