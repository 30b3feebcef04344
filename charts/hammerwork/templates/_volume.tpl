{{/*
Refuse what cannot work with the data that is there: the server makes its user, the user's password and the database when
it starts on an empty volume, and never again. They are known from the StatefulSet, or where the release was uninstalled
from the Secret that it kept. `lookup` finds nothing where Helm only renders.
*/}}
{{- define "hammerwork.refuseOtherVolume" -}}
{{- $name := include "hammerwork.postgresql" . -}}
{{- $secret := include "hammerwork.databaseSecret" . -}}
{{- $remedy := printf "Keep that, or delete the StatefulSet %s and its PersistentVolumeClaim data-%s-0 to begin with an empty database" $name $name -}}
{{- $known := lookup "v1" "Secret" .Release.Namespace $secret -}}
{{- $before := dict -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- if $set -}}
{{- range (first $set.spec.template.spec.containers).env -}}
{{- $_ := set $before .name (default (dig "valueFrom" "secretKeyRef" "name" "" .) .value) -}}
{{- end -}}
{{- else if not .Values.postgresql.existingSecret -}}
{{- with dig "data" "url" "" $known -}}
{{- $url := urlParse (b64dec .) -}}
{{- $before = dict "POSTGRES_USER" (splitList ":" $url.userinfo | first) "POSTGRES_DB" (trimPrefix "/" $url.path) -}}
{{- end -}}
{{- end -}}
{{- range $value, $variable := dict "username" "POSTGRES_USER" "database" "POSTGRES_DB" -}}
{{- $now := get $.Values.postgresql $value -}}
{{- $then := get $before $variable -}}
{{- if and $then (ne $now $then) -}}
{{- fail (printf "postgresql.%s: is %s, but the database on the volume was made with %s. %s" $value $now $then $remedy) -}}
{{- end -}}
{{- end -}}
{{- $last := get $before "POSTGRES_PASSWORD" -}}
{{- if and $last (ne $last $secret) -}}
{{- $password := lookup "v1" "Secret" .Release.Namespace $last | dig "data" "password" "" -}}
{{- if and $password (or $known (not .Values.postgresql.existingSecret)) (ne $password (dig "data" "password" "" $known)) -}}
{{- fail (printf "postgresql.existingSecret: Secret %s has not the password of Secret %s, with which the database on the volume was made. %s" $secret $last $remedy) -}}
{{- end -}}
{{- end -}}
{{- end -}}
