{{/* What the operator does in the namespaces that it watches; a Role and a ClusterRole hold the same. */}}
{{- define "hammerwork.rules" -}}
- apiGroups: [hammerwork.io]
  resources: [jobbatches]
  # patch: the finalizer; delete: batches whose ttlSecondsAfterFinished is over.
  verbs: [get, list, watch, patch, delete]
- apiGroups: [hammerwork.io]
  resources: [workerpools]
  verbs: [get, list, watch]
- apiGroups: [hammerwork.io]
  resources: [jobbatches/status, workerpools/status]
  verbs: [patch]
- apiGroups: [hammerwork.io]
  # Where the admission plugin OwnerReferencesPermissionEnforcement is on, whoever sets blockOwnerDeletion needs this.
  resources: [jobbatches/finalizers, workerpools/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  # create and patch: server-side apply. No delete: the garbage collector removes what a WorkerPool owned.
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  # Database addresses; by name, so no list.
  resources: [secrets]
  {{- with .Values.rbac.databaseSecrets }}
  resourceNames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
