{{- define "hammerwork.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "hammerwork.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "hammerwork.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hammerwork.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hammerwork.operator" -}}
{{- printf "%s-operator" (include "hammerwork.fullname" .) -}}
{{- end -}}

{{- define "hammerwork.postgresql" -}}
{{- printf "%s-postgresql" (include "hammerwork.fullname" .) -}}
{{- end -}}

{{- define "hammerwork.databaseSecret" -}}
{{- default "hammerwork-database" .Values.postgresql.existingSecret -}}
{{- end -}}

{{- define "hammerwork.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hammerwork.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: must be set where serviceAccount.create is false; name an account that exists" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "hammerwork.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: hammerwork
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "hammerwork.operatorSelector" -}}
app.kubernetes.io/name: hammerwork-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hammerwork.postgresqlSelector" -}}
app.kubernetes.io/name: hammerwork-postgresql
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The reference of an image: (list $image $defaultTag). */}}
{{- define "hammerwork.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a container, and a read-only root file system. */}}
{{- define "hammerwork.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
