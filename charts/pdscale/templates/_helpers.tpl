{{- define "pdscale.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pdscale.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "pdscale.fullname" .) -}}
{{- end -}}

{{- define "pdscale.selector" -}}
app.kubernetes.io/name: pdscale-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pdscale.labels" -}}
{{ include "pdscale.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: pdscale
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pdscale.routerImage" -}}
{{- printf "%s:%s" .Values.router.image.repository (.Values.router.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What the operator may do in a namespace that it serves. */}}
{{- define "pdscale.rules" -}}
# Its own kind. Patching the object itself is for the finalizer alone; the spec is the user's.
- apiGroups: [pdscale.io]
  resources: [servingdeployments]
  verbs: [get, list, watch, patch]
- apiGroups: [pdscale.io]
  resources: [servingdeployments/status]
  verbs: [patch]
# Clusters that check owner references want this before a child may name its owner.
- apiGroups: [pdscale.io]
  resources: [servingdeployments/finalizers]
  verbs: [update]
# Children, by server-side apply. Garbage collection deletes them, not the operator.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, create, patch]
# Reads a user's profile, writes the copy that routers mount.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, create, patch]
# Binding a role needs leave to bind that role, or else everything in it.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [{{ .Values.router.clusterRoleName }}]
  verbs: [bind]
# Counts pods by state; their list is no secret to whoever may create Deployments.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
