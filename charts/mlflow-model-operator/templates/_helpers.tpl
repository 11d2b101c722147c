{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Names all objects; short enough for the longest suffix. */}}
{{- define "operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- /* Labels and annotations of an object: "labels" and "annotations" are its own. commonLabels
       change none of those that the chart sets, for some of them are selected by. */}}
{{- define "operator.metadata" -}}
{{- $own := merge dict (.labels | default dict) (include "operator.labels" .root | fromYaml) -}}
labels:
  {{- merge $own .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge dict (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What an endpoint of a ServiceMonitor or PodMonitor has besides port and path. */}}
{{- define "operator.scrape" -}}
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if .honorLabels }}
honorLabels: true
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "operator.serviceAccountName" -}}
{{- $default := .Values.serviceAccount.create | ternary (include "operator.fullname" .) "default" }}
{{- default $default .Values.serviceAccount.name }}
{{- end }}

{{- /* A repository with its registry. Nothing is assumed: whoever owned the assumed registry could put
       any image there. */}}
{{- define "operator.repository" -}}
{{- if .registry }}
{{- printf "%s/%s" (trimSuffix "/" .registry) .repository }}
{{- else if contains "/" .repository }}
{{- .repository }}
{{- else }}
{{- fail (printf "%s is not set, and has no default: set image.registry to the registry that holds the images, like image.registry=registry.example.com/team. `make push REGISTRY=registry.example.com/team` builds and pushes them" .value) }}
{{- end }}
{{- end }}

{{- define "operator.image" -}}
{{- with .Values.image }}
{{- $repository := include "operator.repository" (dict "registry" .registry "repository" .repository "value" "image.registry") }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* JSON: the scoring image of each Python version. Each of scoringImages replaces or adds one. */}}
{{- define "operator.scoringImages" -}}
{{- $images := deepCopy .Values.scoringImages }}
{{- with .Values.scoringImage }}
{{- $registry := default $.Values.image.registry .registry }}
{{- $named := or $registry (contains "/" .repository) }}
{{- range $python := .pythonVersions }}
{{- if and (not (hasKey $images $python)) (or $named (empty $images)) }}
{{- $repository := include "operator.repository" (dict "registry" $registry "repository" $.Values.scoringImage.repository "value" "scoringImage.registry") }}
{{- $tag := default $.Chart.AppVersion $.Values.scoringImage.tag }}
{{- $_ := set $images $python (printf "%s:%s-py%s" $repository $tag $python) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $images }}
{{- end }}

{{- /* The subject of all bindings. */}}
{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ include "operator.namespace" . }}
{{- end }}

{{- /* What the operator does in the namespaces that it watches; each verb is used. */}}
{{- define "operator.rules" -}}
# Watched. The spec is never written.
- apiGroups: [mlflow-model-operator.dev]
  resources: [mlflowmodeldeployments]
  verbs: [list, watch]
- apiGroups: [mlflow-model-operator.dev]
  resources: [mlflowmodeldeployments/status]
  verbs: [patch]
# Asked for by API servers that check who may set blockOwnerDeletion on a child (OpenShift).
- apiGroups: [mlflow-model-operator.dev]
  resources: [mlflowmodeldeployments/finalizers]
  verbs: [update]
# Children: watched, applied (patch, and create for new ones), pruned. "get" sees what the watches do
# not show: a name that somebody else has taken, an object whose labels were edited.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Where models' pods send copies of requests. Looked up by name, and never listed: those of others
# are not read.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch, delete]
# Why pods do not start. Logs, Secrets and the ConfigMaps of others are not read.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- /* Where there is no route yet, why: the Gateway is asked for by name. */}}
{{- define "operator.gatewayRules" -}}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways]
  verbs: [get]
{{- end }}

{{- /* What settings.py reads. */}}
{{- define "operator.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: MMO_LEASE_NAME
  value: {{ include "operator.fullname" . }}
- name: MMO_LEASE_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: MMO_HTTP_PORT
  value: "8080"
- name: MMO_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
# As JSON, for Helm prints a large number as 1e+06.
- name: MMO_POLL_INTERVAL
  value: {{ toJson .Values.pollInterval | quote }}
- name: MMO_RESYNC_INTERVAL
  value: {{ toJson .Values.resyncInterval | quote }}
- name: MMO_DRAIN_DELAY
  value: {{ toJson .Values.drainDelay | quote }}
- name: MMO_MAX_TEMPLATE_UPDATES
  value: {{ toJson .Values.maxTemplateUpdates | quote }}
- name: MMO_WORKERS
  value: {{ toJson .Values.workers | quote }}
- name: MMO_LOG_LEVEL
  value: {{ .Values.logging.level }}
- name: MMO_LOG_FORMAT
  value: {{ .Values.logging.format }}
- name: MMO_POLICY
  value: {{ pick .Values.policy "trackingUris" "maxTrackingServers" "prometheusUrls" "sources" "formats" "writableModels" "signatures" | merge (dict "hostnames" .Values.hostnames) | toJson | quote }}
- name: MMO_SCORING_IMAGES
  value: {{ include "operator.scoringImages" . | quote }}
- name: MMO_DEFAULT_PYTHON_VERSION
  value: {{ .Values.scoringImage.defaultPythonVersion | quote }}
- name: MMO_IMAGE_PULL_POLICY
  value: {{ .Values.scoringImagePullPolicy }}
{{- with .Values.packageIndex.url }}
{{- if regexMatch "^[a-z]+://[^/?#]*@" . }}
{{- fail "packageIndex.url must not contain a user or password, because everyone who can read a pod sees them in DEFAULT_INDEX_URL: put the URL with them, as INDEX_URL, into the Secret that spec.model.credentialsSecret names" }}
{{- end }}
- name: MMO_INDEX_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.trackingUri }}
- name: MLFLOW_TRACKING_URI
  value: {{ . | quote }}
{{- end }}
{{- if .Values.trackingCaConfigMap.name }}
- name: MLFLOW_TRACKING_SERVER_CERT_PATH
  value: /etc/mlflow-model-operator/tracking-ca/ca.crt
{{- end }}
{{- with .Values.clusterName }}
- name: MMO_CLUSTER_NAME
  value: {{ . | quote }}
{{- end }}
{{- if .Values.webhooks.enabled }}
- name: MMO_WEBHOOK_PORT
  value: "8090"
- name: MMO_WEBHOOK_KEYS
  value: /etc/mlflow-model-operator/webhooks
- name: MMO_MAX_HINTED_POLLS
  value: {{ toJson .Values.webhooks.maxPollsPerSecond | quote }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* ValidatingAdmissionPolicies have no namespace: its name keeps two releases apart. */}}
{{- define "operator.policyName" -}}
{{- printf "%s.%s" (include "operator.fullname" .) (include "operator.namespace" .) }}
{{- end }}

{{- define "operator.policy.byTheOperator" -}}
- name: by-the-operator
  expression: >-
    request.userInfo.username ==
    'system:serviceaccount:{{ include "operator.namespace" . }}:{{ include "operator.serviceAccountName" . }}'
{{- end }}

{{- /* CEL: whether a variable has any of these fields. */}}
{{- define "operator.policy.hasAny" -}}
{{- $tests := list }}
{{- range .fields }}
{{- $tests = printf "has(%s.%s)" $.variable . | append $tests }}
{{- end }}
{{- join " || " $tests }}
{{- end }}

{{- /* The rule that a field of spec, of the same name in the pod, is left out or in a list. */}}
{{- define "operator.policy.allowed" -}}
{{- $field := first . }}
{{- $value := printf "variables.pod.?%s.orValue('')" (splitList "." $field | last) -}}
- expression: >-
    {{ $value }} in {{ append (last .) "" | toJson }}
  messageExpression: >-
    '{{ $field }}: ' + {{ $value }} +
    ' is not allowed: leave it out, or use one of {{ join ", " (last .) }}'
  message: "{{ $field }}: this value is not allowed"
{{- end }}

{{- define "operator.policy.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  {{- include "operator.metadata" (dict "root" .root) | nindent 2 }}
spec:
  policyName: {{ .name }}
  validationActions: {{ toJson .root.Values.policy.actions }}
{{- end }}

{{- /* The operator's own pods: those that stand by pass webhooks on to the one that leads. */}}
{{- define "operator.network.replicas" -}}
- podSelector:
    matchLabels:
      {{- include "operator.selectorLabels" . | nindent 6 }}
{{- end }}

{{- define "operator.network.dns" -}}
# DNS; in OpenShift its pods listen on 5353.
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    - {port: 5353, protocol: UDP}
    - {port: 5353, protocol: TCP}
{{- end }}

{{- /* An egress rule. Pods are listed too: for some network plugins, addresses do not include pods. */}}
{{- define "operator.network.allButMetadata" -}}
{{- $v4 := list }}
{{- $v6 := list }}
{{- range .Values.networkPolicy.metadataServices }}
{{- if contains ":" . }}
{{- $v6 = append $v6 . }}
{{- else }}
{{- $v4 = append $v4 . }}
{{- end }}
{{- end -}}
- to:
    - namespaceSelector: {}
    - ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson $v4 }}}
    - ipBlock: {cidr: "::/0", except: {{ toJson $v6 }}}
{{- end }}
