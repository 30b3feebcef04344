{{/* What the operator does in the namespaces that it watches; a Role and a ClusterRole hold the same. */}}
{{- define "hammerwork.rules" -}}
{{- range (.Files.Get "files/rights.yaml" | fromYaml).rules }}
- apiGroups: {{ toJson .apiGroups }}
  resources: {{ toJson .resources }}
  {{- with .resourceNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  {{- if and (has "secrets" .resources) $.Values.rbac.databaseSecrets }}
  resourceNames:
    {{- toYaml $.Values.rbac.databaseSecrets | nindent 4 }}
  {{- end }}
  verbs: {{ toJson .verbs }}
{{- end }}
{{- end -}}
