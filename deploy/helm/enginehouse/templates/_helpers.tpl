{{- define "enginehouse.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "enginehouse.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "enginehouse.labels" -}}
{{ include "enginehouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "enginehouse.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{- define "enginehouse.crowd" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}yes{{ end }}
{{- end }}

{{- define "enginehouse.modelsClaim" -}}
{{- if .Values.models.existingClaim }}{{ .Values.models.existingClaim }}
{{- else if .Values.models.create }}{{ include "enginehouse.name" . }}-models{{ end }}
{{- end }}

{{- define "enginehouse.env" -}}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $name, $from := .Values.secrets }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name }}
      key: {{ $from.key }}
{{- end }}
{{- end }}

{{- define "enginehouse.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "enginehouse.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "enginehouse.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 30
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  # A replica takes its loaded models with it.
  policies:
    - type: Pods
      value: 1
      periodSeconds: 120
{{- end }}

{{/* What the service would refuse to start with, said before anything is installed. */}}
{{- define "enginehouse.check" -}}
{{- $auth := .Values.config.auth | default dict }}
{{- if not (or .Values.secrets.API_KEY .Values.secrets.JWT_SECRET $auth.jwks_url) }}
{{- fail "Nobody could call: name a Secret in secrets.API_KEY or secrets.JWT_SECRET, or set config.auth.jwks_url." }}
{{- end }}
{{- if include "enginehouse.crowd" . }}
{{- range $name := list "DATABASE_URL" "REDIS_URL" "ENGINEHOUSE_AUTH__KEY_SECRET" }}
{{- if not (index $.Values.secrets $name) }}
{{- fail (printf "More than one replica share a database, Redis and the secret of their keys: name a Secret in secrets.%s." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
