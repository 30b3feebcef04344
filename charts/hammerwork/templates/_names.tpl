{{/*
Names of objects. A Service's name and a host's are a DNS label that begins with a letter, of at most 63 characters; a
release's name may begin with a digit and have dots, and an alias in a chart above may have capitals and underscores.
*/}}
{{- define "hammerwork.name" -}}
{{- default .Chart.Name .Values.nameOverride | lower | replace "_" "-" | trunc 50 | trimAll "-" -}}
{{- end -}}

{{- define "hammerwork.fullname" -}}
{{- $name := include "hammerwork.name" . -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- $full = $full | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "hammerwork-%s" $full -}}
{{- end -}}
{{- $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The full name with a suffix, cut so that the whole has at most so many characters: (list $ $suffix $length). */}}
{{- define "hammerwork.suffixed" -}}
{{- $suffix := index . 1 -}}
{{- $full := include "hammerwork.fullname" (index . 0) | trunc (sub (index . 2) (len $suffix) | int) | trimSuffix "-" -}}
{{- printf "%s%s" $full $suffix -}}
{{- end -}}

{{- define "hammerwork.operator" -}}
{{- include "hammerwork.suffixed" (list . "-operator" 63) -}}
{{- end -}}

{{- define "hammerwork.metrics" -}}
{{- include "hammerwork.suffixed" (list . "-operator-metrics" 63) -}}
{{- end -}}

{{/* A StatefulSet's Pods have a label with its name and the hash of its revision, which has up to 10 digits. */}}
{{- define "hammerwork.postgresql" -}}
{{- include "hammerwork.suffixed" (list . "-postgresql" 52) -}}
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
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: hammerwork
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "hammerwork.operatorSelector" -}}
app.kubernetes.io/name: hammerwork-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "hammerwork.postgresqlSelector" -}}
app.kubernetes.io/name: hammerwork-postgresql
app.kubernetes.io/instance: {{ .Release.Name | quote }}
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
