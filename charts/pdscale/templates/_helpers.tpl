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

{{/* REPOSITORY@DIGEST or REPOSITORY:TAG, of a list of an image and the tag to use where it names none. */}}
{{- define "pdscale.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* What the restricted Pod Security Standard wants of a pod and of each container. */}}
{{- define "pdscale.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pdscale.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
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
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
{{- range .Values.rbac.scaleTargets }}
# Replicas of objects that a scaleTargetRef names: read and written through their scale, and nothing else of them.
- apiGroups: [{{ .apiGroup }}]
  resources: [{{ range $i, $resource := .resources }}{{ if $i }}, {{ end }}{{ $resource }}/scale{{ end }}]
  verbs: [get, patch]
{{- end }}
# What a pod must say of itself to be adopted by the other pool, when it changes its role.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
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
# Counts pods by state; their list is no secret to whoever may create Deployments. Marks those that drain.
# Watches, of metadata only, tell when nothing has to be listed again.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Caps that several objects share.
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [get]
# Autoscalers that would set the same replicas: then nothing is written, and they are named.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list]
{{- if .Values.prometheus.readSecrets }}
# Credentials and certificates of a Prometheus, from the Secrets that its object names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* Of the validating webhook's Service, and of the Secret with its certificate where Helm makes it. */}}
{{- define "pdscale.webhookName" -}}
{{- printf "%s-webhook" (include "pdscale.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{/* Not empty where the release brings its own Prometheus. Values of before have no prometheus.url. */}}
{{- define "pdscale.smallPrometheus" -}}
{{- $wanted := .Values.prometheusServer.enabled -}}
{{- if kindIs "bool" $wanted -}}
{{- ternary "yes" "" $wanted -}}
{{- else if not (or .Values.prometheus.url .Values.podMonitor.enabled) -}}
yes
{{- end -}}
{{- end -}}

{{- define "pdscale.prometheusName" -}}
{{- printf "%s-prometheus" (include "pdscale.fullname" .) -}}
{{- end -}}

{{/* Of the metrics server for objects that name none; empty where there is none. */}}
{{- define "pdscale.prometheusUrl" -}}
{{- if .Values.prometheus.url -}}
{{- .Values.prometheus.url -}}
{{- else if include "pdscale.smallPrometheus" . -}}
{{- printf "http://%s.%s:9090" (include "pdscale.prometheusName" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "pdscale.prometheusSelector" -}}
app.kubernetes.io/name: pdscale-prometheus
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pdscale.prometheusLabels" -}}
{{ include "pdscale.prometheusSelector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: pdscale
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
