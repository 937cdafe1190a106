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

{{- define "enginehouse.ray" -}}
{{ include "enginehouse.name" . | trunc 40 | trimSuffix "-" }}-ray
{{- end }}

{{/* KubeRay calls the head's service so. */}}
{{- define "enginehouse.rayAddress" -}}
{{ include "enginehouse.ray" . }}-head-svc:6379
{{- end }}

{{- define "enginehouse.raySelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-ray
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The template of Ray's pods: of its head, and of each group of workers. */}}
{{- define "enginehouse.rayPod" -}}
{{- $root := .root }}
{{- $group := .group }}
{{- $models := include "enginehouse.modelsClaim" $root }}
metadata:
  labels:
    {{- include "enginehouse.raySelector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
spec:
  {{- if eq .role "worker" }}
  automountServiceAccountToken: false
  {{- end }}
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "enginehouse.podSecurity" $root | nindent 4 }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  containers:
    - name: ray-{{ .role }}
      {{- with $group.image }}
      image: {{ printf "%s:%s" .repository (.tag | default $root.Chart.AppVersion) }}
      {{- else }}
      image: {{ include "enginehouse.image" $root }}
      {{- end }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext: {{- include "enginehouse.security" $root | nindent 8 }}
      env:
        - name: RAY_USAGE_STATS_ENABLED
          value: "0"
        # Else engines give way to everything else on their machine.
        - name: RAY_worker_niceness
          value: "0"
        {{- if and $models (eq .role "worker") }}
        - name: ENGINEHOUSE_MODELS_DIR
          value: /app/models
        {{- end }}
      resources: {{- toYaml $group.resources | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/enginehouse
        - name: tmp
          mountPath: /tmp
        {{- if and $models (eq .role "worker") }}
        - name: models
          mountPath: /app/models
          readOnly: true
        {{- end }}
  volumes:
    - name: data
      emptyDir: {}
    - name: tmp
      emptyDir: {}
    {{- if and $models (eq .role "worker") }}
    - name: models
      persistentVolumeClaim:
        claimName: {{ $models }}
        readOnly: true
    {{- end }}
  {{- if and (eq .role "worker") $root.Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ $key }}
      maxSkew: {{ $root.Values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels: {{- include "enginehouse.raySelector" $root | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with $group.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $group.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $group.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
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
{{- $server := .Values.config.server | default dict }}
{{- $residency := .Values.config.residency | default dict }}
{{- $needed := addf .Values.drainSeconds ($server.shutdown_timeout | default 30) ($residency.stop_grace | default 10) }}
{{- if lt (float64 .Values.terminationGracePeriodSeconds) $needed }}
{{- fail (printf "A replica would be killed in the midst of its answers: terminationGracePeriodSeconds has to be at least %g (drainSeconds, server.shutdown_timeout and residency.stop_grace)." $needed) }}
{{- end }}
{{- if and .Values.fleet.ray.enabled (not .Values.fleet.ray.groups) }}
{{- fail "No engine could be placed: name at least one group of workers in fleet.ray.groups." }}
{{- end }}
{{- if include "enginehouse.crowd" . }}
{{- range $name := list "DATABASE_URL" "REDIS_URL" "ENGINEHOUSE_AUTH__KEY_SECRET" }}
{{- if not (index $.Values.secrets $name) }}
{{- fail (printf "More than one replica share a database, Redis and the secret of their keys: name a Secret in secrets.%s." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
